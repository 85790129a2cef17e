"""`finetune clean`: what a run folder holds that nothing needs any more."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.commands.command import Command, is_run_folder, out, recipe_of, takes_recipe
from finetune.errors import FinetuneError
from finetune.sizes import size_text

if TYPE_CHECKING:
    from finetune.chain.leftovers import Left, Wanted
    from finetune.chain.store import Store


# What is left over of no use to anything, and of use to other settings.
KINDS = (
    ("needed by nothing", "To remove it: --yes"),
    (
        "left by other settings; a recipe that goes back to them would keep it",
        "To remove it too: --superseded --yes",
    ),
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    takes_recipe(parser, or_folder=True)
    parser.add_argument("--yes", action="store_true", help="remove it; without this it is listed")
    parser.add_argument(
        "--superseded",
        action="store_true",
        help="also what other settings left, which a run that goes back to them would keep",
    )


def _clean(parsed: argparse.Namespace) -> None:
    from finetune.chain.files import shown
    from finetune.chain.leftovers import held, leftovers, remove

    store, wanted = _place(parsed)
    folder, place = store.folder, shown(store.folder)
    if not folder.is_dir():
        remedy = "It is there once the recipe has run; a folder of a run can be given itself."
        raise FinetuneError("there is no such run folder", where=place, remedy=remedy)
    if parsed.yes:
        removed = remove(store, wanted, superseded=parsed.superseded)
        table = _table(f"{place}, removed", folder, removed, sum(count for _, count in removed))
        return out(table or f"{place}: nothing to remove")
    texts = []
    for useful, (title, remedy) in enumerate(KINDS):
        found = [each for each in leftovers(store, wanted) if each.useful == bool(useful)]
        rows = [(each, held([each.path])) for each in found]
        table = _table(f"{place}, {title}", folder, rows, held(each.path for each in found))
        texts += [f"{table}\n{remedy}"] if found else []
    return out("\n\n".join(texts) or f"{place}: everything in it is needed")


def _place(parsed: argparse.Namespace) -> tuple[Store, Wanted]:
    """The run folder and what is wanted of it: by a recipe, or by the folder's last run."""
    from finetune.chain.leftovers import Wanted
    from finetune.chain.plan import make
    from finetune.chain.store import Store

    if is_run_folder(parsed.recipe):
        folder = Path(parsed.recipe).expanduser().resolve()
        return Store(folder), Wanted.by_journal(folder)
    plan = make(recipe_of(parsed))
    return plan.store, Wanted.by_plan(plan)


def _table(title: str, folder: Path, rows: list[tuple[Left, int]], total: int) -> str:
    """A line for each with the bytes that it alone frees; empty without rows."""
    if not rows:
        return ""
    names = [str(left.path.relative_to(folder)) for left, _ in rows]
    width = max(map(len, names))
    lines = [
        f"  {size_text(count):>9}  {name:<{width}}  {left.why}"
        for name, (left, count) in zip(names, rows, strict=True)
    ]
    return "\n".join([f"{title} ({size_text(total)}):", *lines])


COMMAND = Command(
    "finetune clean my.yaml\nfinetune clean runs/samsum --yes",
    _arguments,
    _clean,
)
