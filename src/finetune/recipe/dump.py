"""A recipe back as YAML: complete, with the defaults left out."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

import yaml

from finetune.recipe.types import Recipe, Score, Stage


def plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as its YAML file would have it after `extends` and changed keys.

    The seed stands there even where it is the default: whoever repeats a run looks for it.
    """
    return {"name": recipe.name, "seed": recipe.seed, **_block(recipe)}


def as_yaml(block: dict[str, Any]) -> str:
    """Text that `load` reads as the recipe that `plain` was given."""
    return yaml.safe_dump(block, sort_keys=False, allow_unicode=True, width=100)


def _block(value: Any) -> dict[str, Any]:
    return {
        each.name.rstrip("_"): _value(getattr(value, each.name))
        for each in fields(value)
        if getattr(value, each.name) != _default(each) and not _implied(value, each.name)
    }


def _value(value: Any) -> Any:
    if isinstance(value, Stage):
        return {value.kind: _block(value)}
    if is_dataclass(value):
        return _block(value)
    if isinstance(value, tuple | list):
        return [_value(each) for each in value]
    return value


def _default(each: Field[Any]) -> Any:
    return each.default_factory() if each.default_factory is not MISSING else each.default


def _implied(value: Any, field: str) -> bool:
    """Whether the reader fills this field itself: names that say the kind or the task."""
    if field != "name":
        return False
    return (isinstance(value, Stage) and value.name == value.kind) or (
        isinstance(value, Score) and value.name == value.task
    )
