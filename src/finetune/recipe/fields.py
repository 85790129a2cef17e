"""What the libraries' config classes take, known from fields.json without importing them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from finetune.recipe.tree import Block, Listing, Node, Scalar, plain, shown

FILE = Path(__file__).with_name("fields.json")
# Before a `model_type`, or a method of PEFT: the fields of the config class that it names.
PREFIXES = ("config.", "peft.")

# Fields that are settings of a class of their own.
NESTED = {
    ("LoraConfig", f"{name}_config"): f"{kind}Config"
    for name, kind in (
        ("corda", "Corda"),
        ("eva", "Eva"),
        ("lora_ga", "LoraGA"),
        ("velora", "Velora"),
    )
}

_WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "dict": "a mapping",
    "list": "a list",
    "null": "null",
    "list[int]": "a list of whole numbers",
    "list[str]": "a list of texts",
    "list[float]": "a list of numbers",
    "list[list[int]]": "a list of lists of whole numbers",
}


class Unfit(Exception):
    """A value that its field does not take; the message says what the field takes."""


@dataclass(frozen=True)
class Field:
    """One field of a library's config class."""

    types: tuple[str, ...]
    default: Any
    choices: tuple[str, ...] = ()


@cache
def _all() -> dict[str, dict[str, Any]]:
    import json

    return dict(json.loads(FILE.read_text(encoding="utf-8")))


@cache
def fields_of(class_name: str) -> dict[str, Field]:
    """Field name -> field of one class; empty when the class is not known."""
    return {
        name: Field(tuple(row["type"].split(" | ")), row["default"], tuple(row.get("choices", ())))
        for name, row in _all().get(class_name, {}).items()
    }


def named(prefix: str) -> list[str]:
    """Every `model_type` (prefix `config.`) or PEFT method (`peft.`) whose fields are known."""
    return [name.removeprefix(prefix) for name in _all() if name.startswith(prefix)]


def title(class_name: str) -> str:
    """How messages call a class."""
    for prefix in PREFIXES:
        class_name = class_name.removeprefix(prefix)
    return class_name


def fit(node: Node, types: tuple[str, ...], choices: tuple[str, ...] = ()) -> Any:
    """The value of `node` as one of `types`; whole numbers become fractions where those are wanted.

    Raises:
        Unfit: it is none of them, or a text that is not among the choices.
    """
    if isinstance(node, Scalar):
        value = _scalar(node, types)
    elif isinstance(node, Listing):
        value = _listing(node, types)
    elif "dict" in types or "any" in types:
        value = plain(node)
    else:
        raise Unfit(f"must be {wanted(types)}, got a mapping")
    for text in value if isinstance(value, list) else [value]:
        if choices and isinstance(text, str) and not _among(text, choices):
            raise Unfit(_no_choice(text, choices))
    return value


def wanted(types: tuple[str, ...]) -> str:
    """The types in words."""
    words = list(dict.fromkeys(_WORDS.get(each, each) for each in types))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _scalar(node: Scalar, types: tuple[str, ...]) -> Any:
    value = node.value
    kind = "null" if value is None else type(value).__name__
    if isinstance(value, float) and value - value != 0:
        raise Unfit(f"must be a finite number, got {node.text}")
    if kind == "int" and "int" not in types and "float" in types:
        return float(value)  # type: ignore[arg-type]
    if kind in types or "any" in types:
        return value
    if "str" in types and value is not None:
        return node.text  # a revision such as 1e5 is the text that was written
    raise Unfit(f"must be {wanted(types)}, got {shown(node)}{_hint(node, types)}")


def _hint(node: Scalar, types: tuple[str, ...]) -> str:
    """A way out for values that another YAML, or another tool, would have taken."""
    value = node.value
    if "int" in types and isinstance(value, float) and value == int(value):
        return f"; write {int(value)}"
    if isinstance(value, str):
        bare = value.replace("_", "").replace(",", "")
        if {"int", "float"} & set(types) and re.fullmatch(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?", bare):
            return f"; write {bare} (without quotes)"
        meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower())
        if "bool" in types and meant:
            return f"; write {meant}"
    return ""


def _listing(node: Listing, types: tuple[str, ...]) -> Any:
    if "list" in types or "any" in types:
        return plain(node)
    for kind in types:
        if kind.startswith("list["):
            inner = (kind[5:-1],)
            try:
                return [fit(item, inner) for item in node.items]
            except Unfit as error:
                raise Unfit(f"must be {wanted(types)}: an item {error}") from None
    raise Unfit(f"must be {wanted(types)}, got a list")


def _among(text: str, choices: tuple[str, ...]) -> bool:
    """`pissa_niter_[number of iters]` stands for the texts with a number in that place."""
    patterns = (re.sub(r"\\\[.*?\\\]", r"\\d+", re.escape(choice)) for choice in choices)
    return text in choices or any(re.fullmatch(pattern, text) for pattern in patterns)


def _no_choice(text: str, choices: tuple[str, ...]) -> str:
    from finetune.recipe.problems import near

    if match := near(text, choices):
        return f"no such choice: {text!r}; did you mean '{match}'?"
    return f"must be one of {', '.join(choices)}, got {text!r}"


def is_empty(node: Node) -> bool:
    """Whether a key has nothing after its colon."""
    return isinstance(node, Scalar) and node.blank


def is_null(node: Node) -> bool:
    """Whether a key has the value null."""
    return isinstance(node, Scalar) and node.value is None


def is_removed(node: Node) -> bool:
    """Whether a key is taken away, by a null laid over it."""
    return isinstance(node, Scalar) and node.removes


def keys_of(node: Node | None) -> set[str]:
    """The keys of a mapping; none of anything else."""
    return set(node.entries) if isinstance(node, Block) else set()
