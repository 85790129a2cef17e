"""`finetune run`: keep what is done, run the rest."""

from __future__ import annotations

import argparse

from finetune.commands import plan
from finetune.commands.command import Command, out, recipe_of, takes_recipe


def _arguments(parser: argparse.ArgumentParser) -> None:
    takes_recipe(parser)
    parser.add_argument("--plan", action="store_true", help="only show what would be done")


def _run(parsed: argparse.Namespace) -> None:
    if parsed.plan:
        return plan.COMMAND.handler(parsed)
    from finetune.chain.run import run
    from finetune.report.leave import leaving_report
    from finetune.report.table import closing

    recipe = recipe_of(parsed)
    with leaving_report(recipe):
        outcome = run(recipe)
    return out(f"\n{closing(outcome)}")


COMMAND = Command(
    "run",
    "run a recipe: keep what is done, run the rest",
    "finetune run samsum\n"
    "finetune run my.yaml dpo.train.beta=0.2 output_dir=runs/beta\n"
    "accelerate launch -m finetune run my.yaml",
    _arguments,
    _run,
)
