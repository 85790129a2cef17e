"""`finetune audit`: what is wrong with the rows of a recipe, before a model learns it."""

from __future__ import annotations

import argparse
import json

from finetune.commands.command import Command, known_stage, out, recipe_of, takes_recipe
from finetune.errors import DataError


def _arguments(parser: argparse.ArgumentParser) -> None:
    takes_recipe(parser, stage="the rows of one stage alone")
    parser.add_argument("--json", action="store_true", help="one JSON object a stage")


def _audit(parsed: argparse.Namespace) -> None:
    recipe = recipe_of(parsed)
    names = [known_stage(parsed.stage, [s.name for s in recipe.stages])] if parsed.stage else []
    from finetune.audit.look import audit
    from finetune.audit.show import as_json, refusal, shown
    from finetune.stages.quiet import hush

    hush()
    found = []
    for each in audit(recipe, names):
        out(json.dumps(as_json(each), ensure_ascii=False) if parsed.json else f"{shown(each)}\n")
        found.append(each)
    if text := refusal(found):
        raise DataError(f"these rows would be refused:\n{text}")


COMMAND = Command(
    "finetune audit samsum\n"
    "finetune audit my.yaml sft --json\n"
    "finetune audit my.yaml audit.near_duplicates.warn=0.2",
    _arguments,
    _audit,
)
