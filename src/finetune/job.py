"""What passes between the chain and a stage: a `Job` goes in, a `Result` comes out."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finetune.recipe.types import Base, Stage, Tokenizer

WHOLE = "whole"  # a file written into a checkpoint when nothing of it is missing any more


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """A model to open: a base, and the adapters on it, lowest first, all of them at work."""

    base: Base
    adapters: tuple[Path, ...] = ()

    @property
    def adapter(self) -> Path | None:
        """The uppermost adapter, the one that was trained last; None where there is none."""
        return self.adapters[-1] if self.adapters else None

    def to_json(self, folder: Path) -> dict[str, Any]:
        """As plain data; paths below `folder` become relative, so that a run can be moved."""
        base = asdict(self.base)
        base["model"] = _shorten(base["model"], folder)
        return {"base": base, "adapters": [_shorten(str(a), folder) for a in self.adapters]}

    @classmethod
    def from_json(cls, data: dict[str, Any], folder: Path) -> ModelRef:
        """The inverse of `to_json` for a run that lies in `folder` now."""
        base = dict(data["base"])
        base["model"] = _lengthen(base["model"], folder)
        if base["tokenizer"]:
            base["tokenizer"] = Tokenizer(**base["tokenizer"])
        base["add_tokens"] = tuple(base.get("add_tokens", ()))  # JSON knows lists alone
        adapters = tuple(Path(str(_lengthen(each, folder))) for each in data["adapters"])
        return cls(base=Base(**base), adapters=adapters)


def _shorten(path: str | None, folder: Path) -> str | None:
    if path and Path(path).is_relative_to(folder):
        return f"run:{Path(path).relative_to(folder)}"
    return path


def _lengthen(path: str | None, folder: Path) -> str | None:
    if path and path.startswith("run:"):
        return str(folder / path.removeprefix("run:"))
    return path


@dataclass(frozen=True, kw_only=True)
class Past:
    """A finished stage on the way to a model, and what it found."""

    stage: Stage
    model: ModelRef | None
    facts: dict[str, Any]
    comparison: dict[str, Any] = field(default_factory=dict)  # of an evaluation, by task


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything a stage may know beside its own settings.

    `out` is the stage's own folder, absolute, and may hold checkpoints of an interrupted run.
    `models` are those that an evaluation scores, by name, in the order of the table.
    `past` is what led to the model and what it scores, for an export's card; empty elsewhere.
    """

    name: str
    out: Path
    seed: int
    model: ModelRef
    models: dict[str, ModelRef] = field(default_factory=dict)
    past: tuple[Past, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a stage leaves for the record, the stages after it and the closing table.

    `facts` are small plain values shown under the stage's name (loss, rows, differences);
    `scores` is {model: {"task metric": value}} for the closing table.
    `warnings` are sentences shown again in the closing lines.
    """

    model: ModelRef | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def mark_whole(checkpoint: Path) -> None:
    """Say of a checkpoint that all of it is written: its files and their sizes.

    The mark may reach a disk or a bucket before the files do, and a machine be lost in between.
    """
    files = [each for each in sorted(checkpoint.rglob("*")) if each.is_file()]
    sizes = {each.relative_to(checkpoint).as_posix(): each.stat().st_size for each in files}
    part = checkpoint / f"{WHOLE}.part"
    with part.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(sizes))
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(checkpoint / WHOLE)


def is_whole(checkpoint: Path) -> bool:
    """Whether it is marked, and every file that the mark names is there in its size."""
    try:
        sizes: dict[str, int] = json.loads((checkpoint / WHOLE).read_text("utf-8") or "{}")
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False
