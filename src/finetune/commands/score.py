"""`finetune score`: the metrics of finished evaluations anew, from what their models wrote."""

from __future__ import annotations

import argparse
from pathlib import Path

from finetune import console
from finetune.chain.record import Record
from finetune.commands.command import (
    Command,
    is_run_folder,
    known_stage,
    out,
    recipe_of,
    takes_recipe,
)
from finetune.errors import FinetuneError


def _arguments(parser: argparse.ArgumentParser) -> None:
    takes_recipe(parser, stage="the name of one evaluation", or_folder=True)


def _score(parsed: argparse.Namespace) -> None:
    from finetune.chain.rescore import rescore
    from finetune.report.compared import scores

    records = _evaluations(parsed)
    if parsed.stage:
        records = {known_stage(parsed.stage, list(records)): records[parsed.stage]}
    for name, record in records.items():
        console.say(f"{name}: scoring what lies in {record.folder}")
        out(scores(rescore(record)))


def _evaluations(parsed: argparse.Namespace) -> dict[str, Record]:
    """Finished evaluations of a recipe, or of a run folder, by their names."""
    from finetune.chain.plan import make
    from finetune.chain.run import outcome
    from finetune.chain.store import Store
    from finetune.recipe.types import Evaluate

    if is_run_folder(parsed.recipe):
        found = Store(Path(parsed.recipe).expanduser().resolve()).evaluations()
    else:
        records = outcome(make(recipe_of(parsed))).records
        found = {name: each for name, each in records.items() if each.kind == Evaluate.kind}
    if not found:
        raise FinetuneError(
            "there is no finished evaluation",
            where=parsed.recipe,
            remedy="Run the recipe first; a folder is read as it is, whatever its recipe says now.",
        )
    return found


COMMAND = Command(
    "finetune score my.yaml\nfinetune score runs/samsum evaluate",
    _arguments,
    _score,
)
