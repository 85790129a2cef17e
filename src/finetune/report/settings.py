"""What differs between recipes, key by key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from finetune.report.gather import Run

UNSET = "–"
WHERE_IT_LIES = ("name", "output_dir")


def differing(runs: list[Run]) -> list[tuple[str, list[str]]]:
    """Keys whose values are not the same in all runs, with the value of each run."""
    found = [_everything(run) for run in runs]
    keys = dict.fromkeys(key for each in found for key in each)
    rows = [(key, [each.get(key, UNSET) for each in found]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _everything(run: Run) -> dict[str, str]:
    """The recipe's settings, the content they were used on, and the versions used."""
    recipe = yaml.safe_load(run.journal.recipe) or {}
    own = {key: value for key, value in recipe.items() if key not in WHERE_IT_LIES}
    found = {path: _text(value) for path, value in _flat(own)}
    for record in run.records:
        for name, content in record.ingredients.get("data", {}).items():
            found[f"{record.name} data: {name}"] = str(content)[:8]
        for name, content in record.ingredients.get("base", {}).get("files", {}).items():
            found[f"base: {name}"] = str(content)[:8]
        for name, version in record.made.get("versions", {}).items():
            found[f"{record.name} made with {name}"] = str(version)
    return found


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by dotted path; stages and tasks by their names."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _flat(each, f"{path}.{key}" if path and key != "stages" else str(key))
    elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        for each in value:
            name, own = _named(each)
            within = "" if path == "stages" else f"{path}."
            yield from _flat(own, f"{within}{name}")
    else:
        yield path, value


def _named(entry: dict[str, Any]) -> tuple[str, Any]:
    """A stage as (name, settings), a task as (name, itself)."""
    if len(entry) == 1 and isinstance(own := next(iter(entry.values())), dict):
        kind = next(iter(entry))
        return str(own.get("name", kind)), own or {"kind": kind}
    return str(entry.get("name", entry.get("task", ""))), entry


def _text(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
