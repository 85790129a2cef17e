"""Why a stage has to run, in the words of the recipe: what differs from its last record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SHOWN = 3
PARENT = "the stage before it changed"


def differences(stage: str, now: dict[str, Any], before: dict[str, Any]) -> str:
    """What differs between two sets of ingredients of one stage, the first few of them."""
    found = list(dict.fromkeys(_differences(stage, now, before)))
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


def _differences(stage: str, now: dict[str, Any], before: dict[str, Any]) -> Iterator[str]:
    new, old = dict(_flat(now)), dict(_flat(before))
    for path in [*new, *(path for path in old if path not in new)]:
        if new.get(path) != old.get(path) and not _opened(path, new, old):
            yield _sentence(stage, path, old.get(path), new.get(path))


def _opened(path: tuple[str, ...], new: dict[Any, Any], old: dict[Any, Any]) -> bool:
    """Whether this is a block, empty on one side, whose keys on the other tell the difference."""
    return any(len(each) > len(path) and each[: len(path)] == path for each in (*new, *old))


def _sentence(stage: str, path: tuple[str, ...], old: Any, new: Any) -> str:
    top, *rest = path
    if top == "from":
        return PARENT
    if top == "models":
        return _models(old or [], new or [])
    if top == "version":
        return f"finetune's own {stage} changed (version {old} -> {new})"
    if top == "tasks":
        return f"finetune's own task {rest[0]} changed (version {old} -> {new})"
    if top == "data" or (top == "base" and rest[0] in {"files", "tokenizer_data"}):
        return f"{top} {rest[-1]} {_change(old, new)}"
    place = _dotted(stage if top == "settings" else top, rest)
    return f"{place} {_value(old)} -> {_value(new)}"


def _models(old: list[list[str]], new: list[list[str]]) -> str:
    names, before = [name for name, _ in new], dict(old)
    if names != [name for name, _ in old]:
        return f"models {_value([name for name, _ in old])} -> {_value(names)}"
    return f"{', '.join(name for name, key in new if before[name] != key)} changed"


def _change(old: Any, new: Any) -> str:
    return "is new" if old is None else "is gone" if new is None else "changed"


def _dotted(top: str, rest: list[str]) -> str:
    text = top
    for part in rest:
        text += f"[{part}]" if part.isdigit() else f".{part}"
    return text


def _value(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flat(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Leaves by path; a list of plain values is one leaf, and so is the list of models.

    An empty block is a leaf too, since `lora: {}` differs from no `lora`.
    """
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _flat(each, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, each in enumerate(value):
            yield from _flat(each, (*path, str(index)))
    else:
        yield path, value
