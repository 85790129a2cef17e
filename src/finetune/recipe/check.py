"""What no key can tell alone: whether the parts of a recipe fit together."""

from __future__ import annotations

from finetune.recipe.read import Reading
from finetune.recipe.types import Recipe


def check(recipe: Recipe, reading: Reading) -> None:
    """Note every contradiction."""
