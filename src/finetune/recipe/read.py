"""A tree to the recipe's types: every key known, every value of its field's type.

All problems are gathered; a value that does not fit gives way to its default so that the reading
can go on, and nothing is handed over in the end.
"""

from __future__ import annotations

import os
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any

from finetune.recipe.fields import (
    NESTED,
    Unfit,
    fields_of,
    fit,
    is_empty,
    is_null,
    is_removed,
    named,
    title,
)
from finetune.recipe.judging import Rubric
from finetune.recipe.places import TOP, Chain, allowed, required, unknown, written_names
from finetune.recipe.problems import Problems, suggestion
from finetune.recipe.refused import why_not, why_not_value
from finetune.recipe.tree import Block, Entry, Listing, Node, Place, Scalar, shown
from finetune.recipe.types import Candidate, Data, Part, Score

# What a single text stands for where a block is wanted.
SHORT: dict[type, str] = {
    Data: "path",
    Part: "path",
    Score: "task",
    Candidate: "name",
    Rubric: "name",
}
# What the key that names a class is called in messages.
WORDS = {"model_type": "architecture", "method": "method"}
VARIABLE = re.compile(r"\$\{(\w*)\}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@dataclass
class Reading:
    """One recipe being read: its problems, where each key stands, and the stages it has."""

    problems: Problems
    chain: Chain = field(default_factory=Chain)
    start: Place = field(default_factory=lambda: Place(""))
    places: dict[str, Place] = field(default_factory=dict)
    stage_places: list[Place] = field(default_factory=list)

    def refuse(self, place: Place, key: str, message: str) -> None:
        """Note a problem with the value of a key."""
        self.problems.add(place, message, key)

    def refuse_at(self, key: str, message: str) -> None:
        """Note a problem at a key by its full name, or at the nearest block that is written.

        What stands at or above the key and is refused already would only be repeated.
        """
        if self.problems.within(key):
            return
        near = key
        while near and near not in self.places:
            near = re.sub(r"(\.[^.]*|\[\d+\]|^[^.\[]*)$", "", near)
        self.problems.add(self.places.get(near, self.start), message, key)

    def block(self, kind: type, node: Node, path: str, stage_kind: str = "", **given: Any) -> Any:
        """An instance of one of our own types; `given` fields are not the recipe's to write."""
        inner = self.as_block(kind, node, path)
        if inner is None:
            return None
        known = {each.name.rstrip("_"): each for each in fields(kind) if each.name not in given}
        values = dict(given)
        for key, entry in inner:
            name = f"{path}.{key}" if path else key
            if not is_removed(entry.node):
                self.places[name] = entry.place
            if key not in known:
                what = "no such key" if path else "no such key, and no stage of this name"
                names = tuple(known) if path else (*TOP, *(name for name, _ in self.chain))
                self.refuse(entry.place, name, unknown(key, path, names, what, self.chain))
            elif self.is_filled(entry, name, _hints(kind)[known[key].name]):
                values[known[key].name] = self.field(kind, known[key], entry.node, name, stage_kind)
        for name in required(kind):
            if name not in values and not self.problems.touch(f"{path}.{name}"):
                self.refuse(inner.place, path or name, f"`{name}` is missing")
        return kind(**{**dict.fromkeys(required(kind)), **values})

    def as_block(self, kind: type, node: Node, path: str) -> Block | None:
        """The mapping of a block, its shorthand written out."""
        if isinstance(node, Scalar) and kind in SHORT and isinstance(node.value, str):
            return Block({SHORT[kind]: Entry(node.place, node)}, node.place)
        if isinstance(node, Block):
            return node
        names = ", ".join(written_names(kind))
        self.refuse(node.place, path, f"must be a mapping of {names}, got {shown(node)}")
        return None

    def is_filled(self, entry: Entry, name: str, hint: Any) -> bool:
        """Whether a key has a value to read: not taken away, not left blank."""
        if is_removed(entry.node):
            return type(None) in typing.get_args(hint)
        if is_empty(entry.node):
            self.refuse(entry.place, name, "has no value; write one, or remove the line")
            return False
        return True

    def field(
        self, kind: type, described: Field[Any], node: Node, path: str, stage_kind: str
    ) -> Any:
        """The value of one field, its default where the written one does not fit."""
        if "fills" in described.metadata:
            value = self.filled(described.metadata, node, path, stage_kind)
        elif "named_by" in described.metadata:
            key, prefix = described.metadata["named_by"]
            value = self.named_class(key, prefix, node, path)
        else:
            value = self.value(_hints(kind)[described.name], node, path)
        if isinstance(value, str):
            value = self.environment(value, node, path, bool(described.metadata.get("environment")))
        if value is not None or is_null(node):
            return value
        if described.default is not MISSING:
            return described.default
        return None if described.default_factory is MISSING else described.default_factory()

    def value(self, hint: Any, node: Node, path: str) -> Any:
        """A value of an annotated type of ours."""
        origin, inner = typing.get_origin(hint), typing.get_args(hint)
        if origin in {typing.Union, types.UnionType}:
            some = next(each for each in inner if each is not type(None))
            return None if is_null(node) else self.value(some, node, path)
        if is_dataclass(hint):
            return self.block(hint, node, path)  # type: ignore[arg-type]
        if origin is tuple:
            return self.listing(inner[0], node, path)
        return self.mapping(node, path) if origin is dict else self.scalar(hint, node, path)

    def scalar(self, hint: Any, node: Node, path: str) -> Any:
        """One value of a plain type, or one of a few texts."""
        choices = typing.get_args(hint)
        try:
            return fit(node, ("str",) if choices else (hint.__name__,), choices)
        except Unfit as error:
            self.refuse(self.places.get(path, node.place), path, str(error))
            return None

    def listing(self, hint: Any, node: Node, path: str) -> tuple[Any, ...] | None:
        """The values of a list."""
        if not isinstance(node, Listing):
            self.refuse(node.place, path, f"must be a list, got {shown(node)}")
            return None
        values = []
        for number, item in enumerate(node.items, start=1):
            name = f"{path}[{number}]"
            self.places[name] = item.place
            values.append(self.value(hint, item, name))
        return tuple(each for each in values if each is not None)

    def mapping(self, node: Node, path: str) -> dict[str, str] | None:
        """A mapping of texts to texts."""
        if not isinstance(node, Block):
            self.refuse(node.place, path, f"must be a mapping, got {shown(node)}")
            return None
        found = {}
        for key, entry in node:
            self.places[f"{path}.{key}"] = entry.place
            if self.is_filled(entry, f"{path}.{key}", str):
                found[key] = self.value(str, entry.node, f"{path}.{key}")
        return found

    def environment(self, text: str, node: Node, path: str, replaced: bool) -> str:
        """The text with each ${NAME} replaced, where that is done at all."""
        for name in VARIABLE.findall(text):
            if not replaced:
                where = "base.model, the path of data and output_dir"
                self.refuse(node.place, path, f"${{{name}}} is replaced only in {where}")
            elif name not in os.environ:
                self.refuse(node.place, path, f"the environment has no {name}; set it, or write "
                            "the value itself")  # fmt: skip
        return VARIABLE.sub(lambda m: os.environ.get(m[1], ""), text) if replaced else text

    def filled(self, metadata: Mapping[str, Any], node: Node, path: str, stage_kind: str) -> Any:
        """Settings of a library's class, or one of the words that may stand in their place."""
        words = metadata.get("words", ())
        if words and isinstance(node, Scalar) and isinstance(node.value, str):
            try:
                return fit(node, ("str",), words)
            except Unfit as error:
                self.refuse(node.place, path, str(error))
                return None
        return self.settings(metadata["fills"][0], node, path, stage_kind)

    def settings(self, class_name: str, node: Node, path: str, stage_kind: str) -> Any:
        """Settings of a library's class: its own field names, its own types."""
        if is_null(node):
            return None
        if not isinstance(node, Block):
            what = f"{class_name} fields ({{}} for its defaults)"
            self.refuse(node.place, path, f"must be a mapping of {what}, got {shown(node)}")
            return None
        values = {}
        for key, entry in node:
            name = f"{path}.{key}"
            self.places[name] = entry.place
            try:
                if inner := NESTED.get((class_name, key)):
                    values[key] = self.settings(inner, entry.node, name, stage_kind)
                elif self.is_known(class_name, key, entry, path, stage_kind):
                    row = fields_of(class_name)[key]
                    if is_removed(entry.node) and "null" not in row.types:
                        continue
                    values[key] = fit(entry.node, row.types, row.choices)
                    if reason := why_not_value(class_name, key, values[key]):
                        raise Unfit(f"{shown(entry.node)} is not used here: {reason}")
            except Unfit as error:
                self.refuse(entry.place, name, str(error))
        return values

    def is_known(self, class_name: str, key: str, entry: Entry, path: str, stage_kind: str) -> bool:
        """Whether a settings block may hold this key, and holds something under it.

        Raises:
            Unfit: it may not.
        """
        if reason := why_not(class_name, key, stage_kind):
            raise Unfit(f"not set here: {reason}")
        if key not in fields_of(class_name):
            names = allowed(class_name, stage_kind)
            what = f"no such field in {title(class_name)}"
            raise Unfit(unknown(key, path, names, what, self.chain))
        if is_empty(entry.node) and not is_removed(entry.node):
            raise Unfit("has no value; write one, or remove the line")
        return True

    def named_class(self, key: str, prefix: str, node: Node, path: str) -> Any:
        """Settings of the class that the key names: `model_type`, or `method`."""
        if is_null(node):
            return None
        if not isinstance(node, Block):
            what = f"must be a mapping of `{key}` and its fields, got {shown(node)}"
            self.refuse(node.place, path, what)
            return None
        chosen, names = node.get(key), named(prefix)
        if not isinstance(chosen, Scalar) or chosen.text not in names:
            text = chosen.text if isinstance(chosen, Scalar) else ""
            known = suggestion(text, names) if text else ""
            tail = known or f"; known: {', '.join(names)}"
            what = f"no such {WORDS[key]}: {text!r}" if text else f"`{key}` is missing"
            message = why_not_value(prefix, key, text) or what + tail
            self.refuse(chosen.place if chosen else node.place, f"{path}.{key}", message)
            return None
        read = self.settings(prefix + chosen.text, node.without(key), path, "")
        return {key: chosen.text, **(read or {})}
