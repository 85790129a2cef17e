"""What a command is, and the arguments that several share."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune import ranks
from finetune.errors import FinetuneError, Problem, RecipeError
from finetune.recipe import find, load
from finetune.recipe.finding import missing, shipped
from finetune.recipe.types import Recipe


@dataclass(frozen=True)
class Command:
    """What stands behind one word after `finetune`; `examples` are command lines, one a line."""

    examples: str
    arguments: Callable[[argparse.ArgumentParser], None]
    handler: Callable[[argparse.Namespace], None]


def takes_recipe(
    parser: argparse.ArgumentParser, *, stage: str = "", or_folder: bool = False
) -> None:
    """RECIPE [STAGE] [KEY=VALUE …]; `stage` says what naming one means."""
    what = "a file, or the name of a shipped recipe" + or_folder * "; or a run folder"
    parser.add_argument("recipe", metavar="RECIPE", help=what)
    if stage:
        parser.add_argument("stage", metavar="STAGE", nargs="?", help=stage)
    parser.add_argument(
        "changes",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],  # without it argparse calls them required
        help="keys to change, such as seed=1",
    )


def recipe_of(parsed: argparse.Namespace) -> Recipe:
    """The recipe, from a file or by the name of one that ships, with the changed keys in it."""
    return _load(parsed)


def _load(parsed: argparse.Namespace) -> Recipe:
    return named_recipe(parsed.recipe, parsed.changes)


def named_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, or the one that ships under this name."""
    path = Path(name)
    return load(path if path.is_file() else find(name), list(changes))


def is_run_folder(name: str) -> bool:
    """Whether a word names a run's folder; otherwise it names a recipe.

    Raises:
        RecipeError: it names neither.
    """
    path = Path(name).expanduser()
    if not (path.exists() or shipped(name) or path.suffix in {".yaml", ".yml"}):
        raise RecipeError([Problem(f"no such run folder, and {missing(path)}", name)])
    return path.is_dir()


def known_stage(name: str, names: Sequence[str]) -> str:
    """The name, if it is one of the recipe's stages.

    Raises:
        FinetuneError: it is not; the nearest one is suggested.
    """
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(names)}."
    raise FinetuneError(f"the recipe has no stage {name!r}", remedy=hint)


def out(text: str) -> None:
    """What was asked for, on standard output; messages go to standard error."""
    if ranks.is_main():
        sys.stdout.write(f"{text}\n")
