"""`finetune clean`: what a run folder holds that nothing needs any more."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.commands.command import Command, out, recipe_of, takes_recipe
from finetune.errors import FinetuneError
from finetune.sizes import size_text

if TYPE_CHECKING:
    from finetune.chain.leftovers import Left, Wanted
    from finetune.chain.store import Store


OTHERS = "a recipe with other settings would keep"


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
        return out(
            _table(f"removed from {place}", folder, removed) or f"{place}: nothing to remove"
        )
    found = [(each, held([each.path])) for each in leftovers(store, wanted)]
    idle = [row for row in found if not row[0].useful]
    useful = [row for row in found if row[0].useful]
    texts = []
    if idle:
        texts.append(_table(f"nothing needs, in {place}", folder, idle) + "\nTo remove it: --yes")
    if useful:
        texts.append(_table(OTHERS, folder, useful) + "\nTo remove it too: --superseded --yes")
    return out("\n\n".join(texts) or f"{place}: everything in it is needed")


def _place(parsed: argparse.Namespace) -> tuple[Store, Wanted]:
    """The run folder and what is wanted of it: by a recipe, or by the folder's last run."""
    from finetune.chain.leftovers import Wanted
    from finetune.chain.plan import make
    from finetune.chain.store import Store

    folder = Path(parsed.recipe)
    if folder.is_dir():
        folder = folder.resolve()
        return Store(folder), Wanted.by_journal(folder)
    plan = make(recipe_of(parsed))
    return plan.store, Wanted.by_plan(plan)


def _table(title: str, folder: Path, rows: list[tuple[Left, int]]) -> str:
    """A line for each, and their bytes in all; empty without rows."""
    if not rows:
        return ""
    names = [str(left.path.relative_to(folder)) for left, _ in rows]
    width = max(map(len, names))
    lines = [
        f"  {size_text(count):>9}  {name:<{width}}  {left.why}"
        for name, (left, count) in zip(names, rows, strict=True)
    ]
    return "\n".join([f"{title} ({size_text(sum(count for _, count in rows))}):", *lines])


COMMAND = Command(
    "finetune clean my.yaml\nfinetune clean runs/samsum --yes",
    _arguments,
    _clean,
)
