"""`finetune plan`: what a run would do, and why."""

from __future__ import annotations

import argparse

from finetune.commands.command import Command, out, recipe_of, takes_recipe


def _plan(parsed: argparse.Namespace) -> None:
    from finetune.chain.plan import make

    out(str(make(recipe_of(parsed))))


COMMAND = Command(
    "plan",
    "show what a run would do, and why",
    "finetune plan my.yaml\nfinetune plan my.yaml sft.train.learning_rate=1e-4",
    takes_recipe,
    _plan,
)
