"""Rows of a .jsonl file, read without `datasets` so that light tests stay light."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def jsonl(path: Path) -> list[dict[str, Any]]:
    """All rows of the file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
