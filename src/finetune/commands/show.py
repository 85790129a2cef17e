"""`finetune show`: the results of a run, or all that is known of one stage."""

from __future__ import annotations

import argparse
import shlex

from finetune.commands.command import Command, known_stage, out, recipe_of, takes_recipe
from finetune.errors import FinetuneError


def _arguments(parser: argparse.ArgumentParser) -> None:
    takes_recipe(parser, stage="the name of one stage")


def _show(parsed: argparse.Namespace) -> None:
    from finetune.chain.plan import make
    from finetune.chain.run import outcome
    from finetune.report.details import details
    from finetune.report.table import closing

    found = outcome(make(recipe_of(parsed)))
    if not parsed.stage:
        return out(closing(found))
    steps = {step.stage.name: step for step in found.plan.steps}
    name = known_stage(parsed.stage, list(steps))
    if name not in found.records:
        again = shlex.join(["finetune", "run", parsed.recipe, *parsed.changes])
        raise FinetuneError(f"{name!r} is not done ({steps[name]})", remedy=f"Run: {again}")
    return out(details(found.records[name], steps[name].stage))


COMMAND = Command(
    "finetune show my.yaml\nfinetune show my.yaml sft output_dir=runs/beta",
    _arguments,
    _show,
)
