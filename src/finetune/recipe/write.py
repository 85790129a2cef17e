"""A recipe back to YAML: what differs from the defaults, so that a card can carry it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from finetune.recipe.types import Recipe, Stage


def to_yaml(recipe: Recipe, text: Callable[[str], str] = str) -> str:
    """The text of a recipe file that reads as `recipe` again; `text` may change its texts."""
    import yaml

    data = _plain(recipe, text)
    data["stages"] = [_stage(stage, text) for stage in recipe.stages]
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)


def _stage(stage: Stage, text: Callable[[str], str]) -> dict[str, Any]:
    settings = _plain(stage, text)
    if stage.name == stage.kind:
        del settings["name"]
    return {stage.kind: settings}


def _plain(value: Any, text: Callable[[str], str]) -> Any:
    if is_dataclass(value):
        return {
            field.name.rstrip("_"): _plain(getattr(value, field.name), text)
            for field in fields(value)
            if getattr(value, field.name) != _default(field)
        }
    if isinstance(value, dict):
        return {key: _plain(each, text) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each, text) for each in value]
    return text(value) if isinstance(value, str) else value


def _default(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    return MISSING if field.default_factory is MISSING else field.default_factory()
