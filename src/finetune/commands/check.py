"""`finetune check`: mistakes in a recipe and in what it reads."""

from __future__ import annotations

import argparse

from finetune.commands.command import Command, out, recipe_of, takes_recipe


def _check(parsed: argparse.Namespace) -> None:
    from finetune.chain.inputs import problems, together

    recipe = recipe_of(parsed)
    if found := problems(recipe):
        raise together(found, "with what the recipe reads")
    names = ", ".join(stage.name for stage in recipe.stages)
    many = len(recipe.stages)
    out(f"ok: {many} stage{'s' if many > 1 else ''} ({names}); finetune audit reads the rows")


COMMAND = Command(
    "finetune check my.yaml",
    takes_recipe,
    _check,
)
