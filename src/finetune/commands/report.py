"""`finetune report`: a run on one page, or several runs beside each other."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from finetune.commands.command import Command, is_run_folder, named_recipe, out
from finetune.errors import FinetuneError


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="a run folder, or its recipe")
    parser.add_argument("--out", metavar="FILE", help="write it there")
    parser.add_argument("--open", action="store_true", help="show it in the browser")


def _report(parsed: argparse.Namespace) -> None:
    from finetune.chain.files import shown
    from finetune.report.against import compare_runs
    from finetune.report.run_page import report

    folders = [_folder(each) for each in parsed.runs]
    target = Path(parsed.out) if parsed.out else None
    try:
        file = report(folders[0], target) if len(folders) == 1 else compare_runs(folders, target)
    except OSError as error:
        where = str(error.filename or target or folders[0])
        raise FinetuneError(f"cannot be written ({error.strerror})", where=where) from error
    out(shown(file))
    if parsed.open:
        webbrowser.open(file.resolve().as_uri())


def _folder(run: str) -> Path:
    """The run's folder, given itself or by the recipe that names it."""
    if is_run_folder(run):
        return Path(run).expanduser()
    from finetune.chain.plan import store_of

    return store_of(named_recipe(run)).folder


COMMAND = Command(
    "finetune report my.yaml --open\nfinetune report runs/beta-0.1 runs/beta-0.2 --out beta.html",
    _arguments,
    _report,
)
