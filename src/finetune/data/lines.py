"""Which line of a JSON-lines file cannot be read: the libraries name blocks, not lines."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

OPENERS: dict[str, Callable[..., IO[Any]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def first_wrong_line(file: Path) -> tuple[int, str] | None:
    """Number of the first line that is no JSON object, and what is wrong; None if none is.

    Of other kinds of files, which may well spread over lines, nothing is said.
    """
    if ".jsonl" not in file.suffixes or file.suffix == ".zst":
        return None
    number = 0
    try:
        with OPENERS.get(file.suffix, open)(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if wrong := _wrong(line):
                    return number, wrong
    except UnicodeDecodeError as error:
        return number + 1, f"this line or one soon after is not UTF-8 ({error.reason})"
    except (OSError, EOFError) as error:
        return number + 1, f"the file ends here or cannot be read further ({error})"
    return None


def _wrong(line: str) -> str:
    if not line.strip():
        return ""
    try:
        value = json.loads(line.rstrip())
    except ValueError as error:
        column = getattr(error, "colno", 1)
        return f"not JSON at column {column}: {getattr(error, 'msg', error)}"
    return "" if isinstance(value, dict) else "this is no JSON object with named columns"
