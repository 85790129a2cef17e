"""The record of a finished stage: what it was made from, what came out, and on what."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from finetune.chain.files import write_json
from finetune.job import ModelRef
from finetune.sums import sha256

NAME = "record.json"
CHECKPOINTS = "checkpoints"
# Not results: checkpoints go when the stage is done, an error belongs to an earlier attempt.
PASSING = (CHECKPOINTS, "error*.txt", ".*", "*.tmp", NAME)


@dataclass(frozen=True, kw_only=True)
class Record:
    """Written last, in one step: where it is whole, the stage is done."""

    key: str
    ingredients: dict[str, Any]
    kind: str
    name: str
    model: dict[str, Any] | None  # `ModelRef.to_json`, paths relative to the run folder
    facts: dict[str, Any]
    scores: dict[str, dict[str, float]]
    warnings: list[str]
    made: dict[str, Any]  # versions, platform, device, git commit, times, memory
    files: dict[str, int]  # sizes, by path below the stage's folder
    # of the files in folders of it: models and adapters; empty where none was kept
    sha256: dict[str, str] = field(default_factory=dict)
    folder: Path = field(compare=False)  # where it lies now; not written

    def model_ref(self) -> ModelRef | None:
        """The stage's model, for a run that lies where this record was read."""
        return ModelRef.from_json(self.model, self.folder.parent) if self.model else None

    def fault(self) -> str:
        """Which file listed here is missing or of another size; empty when none."""
        for name, size in self.files.items():
            file = self.folder / name
            if not file.is_file():
                return f"{file.name} is missing"
            if file.stat().st_size != size:
                return f"{file.name} has another size than when it was made"
        return ""

    def write(self, folder: Path) -> None:
        """Put the record into `folder`, whole or not at all."""
        data = asdict(self)
        del data["folder"]
        write_json(folder / NAME, data)


class DamagedRecordError(Exception):
    """A record that is there and cannot be trusted; the text says why."""


def read(folder: Path) -> Record | None:
    """The record in `folder`; None when there is none.

    Raises:
        DamagedRecordError: it is torn, unreadable, or of another layout.
    """
    try:
        data = json.loads((folder / NAME).read_text("utf-8"))
        if not isinstance(data, dict):
            raise TypeError
        names = {each.name for each in fields(Record)} - {"folder"}
        record = Record(**{name: data[name] for name in names if name in data}, folder=folder)
        _verify(record)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedRecordError(f"its record cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedRecordError("its record is damaged") from error
    return record


def _verify(record: Record) -> None:
    """Types of what is used without a look later."""
    tables = (record.ingredients, record.facts, record.scores, record.made)
    files = (record.files, record.sha256)
    if not isinstance(record.key, str) or not all(isinstance(t, dict) for t in (*tables, *files)):
        raise TypeError
    record.model_ref()


def list_files(folder: Path) -> dict[str, int]:
    """Files that make up a stage's result, with their sizes."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _passing(path.relative_to(folder))
    }


def hash_files(folder: Path, files: Iterable[str]) -> dict[str, str]:
    """sha256 of those of the files that lie in folders below the stage's own: its models."""
    return {name: sha256(folder / name) for name in files if len(Path(name).parts) > 1}


def _passing(path: Path) -> bool:
    return any(Path(part).match(pattern) for part in path.parts for pattern in PASSING)
