"""JSON Schema of recipes, for editors: from the same types and fields that recipes are read with.

It knows names, types and choices; what only the whole recipe tells is left to `finetune check`.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any

from finetune.recipe import blocks, judging, leaving, tuning
from finetune.recipe import types as recipe_types
from finetune.recipe.fields import NESTED, Field, fields_of, named, title
from finetune.recipe.limits import LIMITS
from finetune.recipe.places import allowed
from finetune.recipe.read import SHORT
from finetune.recipe.refused import why_not_value
from finetune.recipe.types import STAGES, Base, Recipe, Stage

Schema = dict[str, Any]

_JSON = {
    "bool": "boolean",
    "int": "integer",
    "float": "number",
    "str": "string",
    "null": "null",
    "dict": "object",
    "list": "array",
}


def schema() -> Schema:
    """The schema of a whole recipe (JSON Schema 2020-12)."""
    shape = _own(Recipe, "", stages=_stages(), base=_own(Base, ""))
    shape["properties"] |= {
        "extends": {"type": "string", "description": "the recipe that this one changes"},
        "launch": {"const": "r'''", "description": "lets `accelerate launch` run the file"},
        **{kind: _change(stage) for kind, stage in STAGES.items()},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "finetune recipe",
        **shape,
        # Stages have names of their own; a recipe that extends another changes them by name.
        "additionalProperties": {"type": ["object", "null"]},
        "required": [],
        "anyOf": [{"required": ["extends"]}, {"required": ["base", "stages"]}],
    }


def _stages() -> Schema:
    one_of = [
        {
            "type": "object",
            "properties": {kind: _own(stage, kind)},
            "required": [kind],
            "additionalProperties": False,
        }
        for kind, stage in STAGES.items()
    ]
    return {"type": "array", "minItems": 1, "items": {"oneOf": [*one_of, {"enum": list(STAGES)}]}}


def _change(stage: type[Stage]) -> Schema:
    """A stage's name at the top: what changes in it, so nothing is required."""
    inner = _own(stage, stage.kind)
    return {**inner, "type": ["object", "null"], "required": []}


def _own(kind: type, stage_kind: str, **given: Schema) -> Schema:
    """A block of our own types."""
    hints = typing.get_type_hints(kind)
    notes = {name: note for each in kind.__mro__ for name, note in _notes(each.__name__).items()}
    properties: Schema = {}
    for field in dataclasses.fields(kind):
        name = field.name.rstrip("_")
        row = given.get(name) or _property(field, hints[field.name], stage_kind)
        note = notes.get(field.name)
        properties[name] = {**row, "description": note} if note else row
    required = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and field.name != "name"
    ]
    return {
        "type": "object",
        "description": (kind.__doc__ or "").strip(),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _property(field: dataclasses.Field[Any], hint: Any, stage_kind: str) -> Schema:
    if "fills" in field.metadata:
        row = _settings(field.metadata["fills"][0], stage_kind)
        if words := field.metadata.get("words"):
            row = {"anyOf": [row, {"enum": [*words, None]}]}
    elif "named_by" in field.metadata:
        row = _named(*field.metadata["named_by"])
    elif names := field.metadata.get("known"):
        null = [{"type": "null"}] if field.default is None else []
        row = {"anyOf": [{"enum": list(names)}, {"type": "string"}, *null]}
    else:
        row = _annotated(hint, field.name)
    if field.default is None and row.get("type") == "object":
        row = {**row, "type": ["object", "null"]}
    if isinstance(field.default, (str, int, float)) and field.default != "":
        row = {**row, "default": field.default}
    return row


def _annotated(hint: Any, name: str) -> Schema:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        some = next(each for each in inner if each is not type(None))
        return {"anyOf": [_annotated(some, name), {"type": "null"}]}
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin is tuple:
        return {"type": "array", "items": _annotated(inner[0], name)}
    if origin is dict:
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        block = _own(hint, "")
        short = block["properties"].get(SHORT.get(hint, ""))
        return {"anyOf": [block, short]} if short else block
    return {"type": _JSON[hint.__name__], **_bounds(name)}


def _settings(class_name: str, stage_kind: str) -> Schema:
    """A block that fills a library's class: the fields that a recipe may hold."""
    known = fields_of(class_name)
    return {
        "type": "object",
        "description": f"fields of {title(class_name)}",
        "properties": {
            name: _library(class_name, name, known[name])
            for name in allowed(class_name, stage_kind)
        },
        "additionalProperties": False,
    }


def _library(class_name: str, name: str, field: Field) -> Schema:
    if inner := NESTED.get((class_name, name)):
        return _settings(inner, "")
    choices = [
        choice
        for choice in field.choices
        if "[" not in choice and not why_not_value(class_name, name, choice)
    ]
    kinds = [_type(kind, choices, name) for kind in field.types]
    row = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    return row if "any" in field.types else {**row, "default": field.default}


def _type(kind: str, choices: list[str], name: str) -> Schema:
    if kind == "any":
        return {}
    if kind == "str" and choices:
        return {"enum": choices}
    if kind.startswith("list["):
        return {"type": "array", "items": _type(kind[5:-1], choices, name)}
    bounds = _bounds(name) if kind in {"int", "float"} else {}
    return {"type": _JSON[kind], **bounds}


def _bounds(name: str) -> Schema:
    if name not in LIMITS:
        return {}
    lowest, with_lowest, highest, with_highest = LIMITS[name]
    row: Schema = {"minimum" if with_lowest else "exclusiveMinimum": lowest}
    if highest is not None:
        row["maximum" if with_highest else "exclusiveMaximum"] = highest
    return row


def _named(key: str, prefix: str) -> Schema:
    """One alternative for each class that the key can name."""
    rows = []
    for name in named(prefix):
        row = _settings(prefix + name, "")
        row["properties"] = {key: {"const": name}, **row["properties"]}
        rows.append({**row, "required": [key]})
    return {"oneOf": [*rows, {"type": "null"}]}


def _notes(owner: str) -> dict[str, str]:
    """Field -> the comment beside or above it where it is declared."""
    return _all_notes().get(owner, {})


@cache
def _all_notes() -> dict[str, dict[str, str]]:
    notes: dict[str, dict[str, str]] = {}
    owner, above = "", ""
    modules = (blocks, judging, tuning, leaving, recipe_types)
    files = (Path(module.__file__ or "") for module in modules)
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    for line in text.splitlines():
        if match := re.match(r"class (\w+)", line):
            owner, above = match[1], ""
        elif match := re.match(r"    # (.+)", line):
            above = match[1]
        elif match := re.match(r"    (\w+): [^#]*(?:# (.+))?$", line):
            if note := match[2] or above:
                notes.setdefault(owner, {})[match[1]] = note
            above = ""
    return notes
