"""A recipe: from YAML to checked types, every mistake with its line and the way out."""

from __future__ import annotations

from finetune.recipe.finding import find
from finetune.recipe.loader import load

__all__ = ["find", "load"]
