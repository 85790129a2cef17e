"""What a stage says of its rows: how they were read, and which were left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from finetune.console import say
from finetune.data.examples import Examples
from finetune.data.rows import describe
from finetune.job import Job
from finetune.ranks import is_main
from finetune.recipe.types import Data


def announce(rows: Examples[Any], data: Data, job: Job) -> None:
    """Say how the rows were read, before anything is learnt from them."""
    say(f"  {job.name}: {describe(data)} {rows.said}; {len(rows):,} examples")


def left_out(rows: Examples[Any], job: Job, name: str = "data") -> list[str]:
    """Write the refused rows into the stage's folder; a sentence about them, if there are any."""
    refused = rows.refused
    if not refused.count:
        return []
    file = job.out / f"refused-{name}.jsonl"
    if is_main():
        refused.write(file)
    return [
        f"{refused.count:,} of {refused.read:,} rows were left out ({refused.summary()}); "
        f"they are in {file.name} of its folder"
    ]


def skipper(rows: Examples[Any], data: Data) -> Callable[[int, str], None] | None:
    """What takes down a row that cannot be used after all; None where one stops the stage."""
    if data.on_bad_row == "fail":
        return None

    def skip(index: int, reason: str) -> None:
        rows.refused.add(rows.origin(index), f"the chat template: {reason}", vars(rows[index]))

    return skip
