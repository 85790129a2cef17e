"""What a file holds, as a hash; remembered so that a large base is read once, not every run."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from finetune.chain.files import write_json
from finetune.sums import sha256

# A file changed again within one tick of the clock keeps its time; only settled ones are stored.
SETTLED_SECONDS = 2.0


class Fingerprints:
    """sha256 of files, looked up by path, size and time of last change."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._known = _read(cache)
        self._fresh: dict[str, str] = {}

    @classmethod
    def of_user(cls) -> Fingerprints:
        """Kept in the user's cache folder (`XDG_CACHE_HOME`): of models beside any run."""
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "finetune"
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        return cls(folder / "fingerprints.json")

    def of(self, file: Path) -> str:
        """Hash of the file's bytes."""
        status = file.stat()
        place = f"{file.resolve()}:{status.st_size}:{status.st_mtime_ns}"
        if place in self._known:
            return self._known[place]
        if place not in self._fresh:
            self._fresh[place] = sha256(file)
            if time.time() - status.st_mtime > SETTLED_SECONDS:
                self._known[place] = self._fresh[place]
        return self._fresh[place]

    def save(self) -> None:
        """Keep what was computed; a folder that cannot be written costs time, nothing else."""
        if self._fresh and self._cache.parent.is_dir():
            with suppress(OSError):
                write_json(self._cache, self._known)


def _read(cache: Path) -> dict[str, str]:
    try:
        known = json.loads(cache.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
