"""`finetune schema`: the JSON Schema of recipes, for editors."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from finetune import console
from finetune.commands.command import Command, out
from finetune.errors import FinetuneError


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", help="write it there")


def _schema(parsed: argparse.Namespace) -> None:
    from finetune.recipe.schema import schema

    text = json.dumps(schema(), indent=2, ensure_ascii=False)
    if parsed.out is None:
        return out(text)
    try:
        Path(parsed.out).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise FinetuneError(f"cannot be written ({error.strerror})", where=parsed.out) from error
    return console.say(f"wrote {parsed.out}")


COMMAND = Command(
    "finetune schema --out recipe.schema.json",
    _arguments,
    _schema,
)
