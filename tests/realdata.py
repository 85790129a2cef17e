"""Real data that is not part of the project; tests that want it skip themselves without it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_BESIDE = Path(__file__).parents[2] / "shared" / "realdata"


def real(*parts: str) -> Path:
    """A file or folder of the real data; skips the test when it is not there."""
    path = Path(os.environ.get("FINETUNE_REALDATA", _BESIDE)).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real data is absent: {'/'.join(parts)} (FINETUNE_REALDATA)")
    return path


def real_rows(*parts: str) -> list[dict[str, Any]]:
    """The rows of a .jsonl file of the real data."""
    with real(*parts).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
