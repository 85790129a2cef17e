"""Writing that survives a crash: a file is there whole, or not at all. And naming files."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


def write_json(path: Path, data: Any) -> None:
    """Write beside, flush to the disk, move into place."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("w", encoding="utf-8") as stream:
            json.dump(data, stream, indent=1, ensure_ascii=False, default=_plain)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make renames in `folder` lasting; not every file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def shown(path: Path) -> str:
    """A path as short as it can be given from the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _plain(value: Any) -> Any:
    """Numbers of numpy and torch as Python's own; anything else by its text."""
    return value.item() if hasattr(value, "item") else str(value)
