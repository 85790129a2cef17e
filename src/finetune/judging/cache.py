"""Replies of judges by content: what was asked of whom is not asked again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Messages = Sequence[dict[str, str]]


class Cache:
    """A file of one JSON object a line, `key` and `reply`; each is on disk when `put` returns.

    `identity` is who is asked and how: another judge has other keys.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path, self.identity = path, identity
        self.replies: dict[str, str] = dict(_read(path))

    def get(self, messages: Messages) -> str | None:
        """The reply to these messages, if there is one."""
        return self.replies.get(self._key(messages))

    def put(self, messages: Messages, reply: str) -> None:
        """Keep a reply."""
        key = self._key(messages)
        self.replies[key] = reply
        line = json.dumps({"key": key, "reply": reply})
        # A run that was killed may have left half a line, which must not swallow this one.
        start = "" if _ends_whole(self.path) else "\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{start}{line}\n")

    def _key(self, messages: Messages) -> str:
        text = json.dumps([self.identity, list(messages)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            kept = json.loads(line)
            found.append((str(kept["key"]), str(kept["reply"])))
        except (ValueError, KeyError, TypeError):
            continue  # half a line of a run that was killed
    return found


def _ends_whole(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
