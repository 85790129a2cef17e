"""The record of one stage in full: settings, facts, and the machine it was made on."""

from __future__ import annotations

from typing import Any

from finetune.chain.files import shown
from finetune.chain.inputs import sources
from finetune.chain.record import Record
from finetune.recipe.types import Stage
from finetune.report.layout import number
from finetune.sizes import size_text


def details(record: Record, stage: Stage) -> str:
    """Everything that a stage's record says, for a person, and where its rows lie now.

    Raises:
        DataError: they lie there no more.
    """
    made = dict(record.made)
    versions = made.pop("versions", {})
    memory = made.pop("peak_memory", {})
    peaks = {f"peak {name}": size_text(size) for name, size in memory.items()}
    blocks = {
        f"{record.name} ({record.kind})": {"key": record.key[:8], "lies in": shown(record.folder)},
        "settings": _flat(record.ingredients.get("settings", {})),
        "rows from": _rows_from(stage),
        "facts": {name.replace("_", " "): number(value) for name, value in record.facts.items()},
        "made": {**made, **peaks},
        "versions": versions,
        "files": {name: f"{size:,} bytes".replace(",", " ") for name, size in record.files.items()},
    }
    lines = [line for title, block in blocks.items() for line in _block(title, block)]
    return "\n".join([*lines, *(f"  note: {warning}" for warning in record.warnings)])


def _rows_from(stage: Stage) -> dict[str, str]:
    """Where the rows of each source lie: files, or a hub id."""
    return {
        name or "data": source.hub or ", ".join(shown(file) for file in source.files)
        for name, source in sources(stage)
    }


def _block(title: str, block: dict[str, Any]) -> list[str]:
    width = max((len(name) for name in block), default=0)
    rows = [f"  {name:<{width}}  {value}" for name, value in block.items()]
    return [title, *rows] if block else []


def _flat(block: Any, path: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    if isinstance(block, dict) and (block or not path):
        found: dict[str, Any] = {}
        for name, value in block.items():
            found |= _flat(value, f"{path}.{name}" if path else str(name))
        return found
    return {path: block}
