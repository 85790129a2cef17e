"""`finetune preview`: rows as a stage will see them, token by token."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from finetune import console
from finetune.commands.command import Command, known_stage, out, recipe_of, takes_recipe
from finetune.errors import FinetuneError
from finetune.recipe.types import Recipe, Stage


def _arguments(parser: argparse.ArgumentParser) -> None:
    takes_recipe(parser, stage="a stage that trains; by default the first of them")
    parser.add_argument("--rows", metavar="N", type=_count, default=3, help="how many (3)")
    parser.add_argument("--row", metavar="I", type=_count, help="only this one, from 1")
    parser.add_argument("--html", metavar="FILE", help="write a page instead, with ids")
    parser.add_argument("--color", action="store_true", help="colour even where no terminal is")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"wanted is a number from 1, got {text!r}")
    return int(text)


def _preview(parsed: argparse.Namespace) -> None:
    from finetune.preview import gather, page, terminal
    from finetune.stages import quiet

    recipe = recipe_of(parsed)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # asks for an optional package
    quiet.hush()
    numbers = range(parsed.row - 1, parsed.row) if parsed.row else range(parsed.rows)
    made = gather.preview(recipe, _stage(recipe, parsed.stage), numbers)
    if parsed.html is None:
        return out(terminal.text(made, terminal.wants_colour(parsed.color)))
    try:
        Path(parsed.html).write_text(page.page(made), encoding="utf-8")
    except OSError as error:
        raise FinetuneError(f"cannot be written ({error.strerror})", where=parsed.html) from error
    return console.say(f"wrote {parsed.html}")


def _stage(recipe: Recipe, name: str | None) -> Stage:
    from finetune.preview.gather import trains

    stages = {stage.name: stage for stage in recipe.stages}
    if name is not None:
        return stages[known_stage(name, list(stages))]
    if first := next((stage for stage in recipe.stages if trains(stage)), None):
        return first
    raise FinetuneError("no stage of this recipe trains on rows")


COMMAND = Command(
    "finetune preview samsum\n"
    "finetune preview my.yaml dpo --rows 10\n"
    "finetune preview my.yaml sft --row 118 sft.train.max_length=512\n"
    "finetune preview my.yaml --rows 50 --html rows.html",
    _arguments,
    _preview,
)
