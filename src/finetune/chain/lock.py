"""One run at a time in a run folder; the system frees the lock when its holder dies."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from finetune.chain.mishap import folder_errors
from finetune.console import warn
from finetune.errors import StoreError

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
# A killed run's last processes may hold the lock a moment longer than the run itself.
PATIENCE_SECONDS = 10.0


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the run folder, made if needed.

    Raises:
        StoreError: another run holds it, or it cannot be written to.
    """
    with folder_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / NAME).open("a+", encoding="utf-8")
    with stream:
        _take(stream, folder)
        with folder_errors(folder):
            _sign(stream)
        yield


def _take(stream: IO[str], folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _try(stream):
        holder = _holder(stream)
        if _lives(holder) or time.monotonic() > deadline:
            raise StoreError(
                f"another run {_describe(holder)} works in {folder}",
                remedy="Wait for it, or give another folder with output_dir=...",
            )
        time.sleep(0.1)


def _try(stream: IO[str]) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        warn(f"this file system has no locks ({error.strerror}); start no second run here")
    return True


def _sign(stream: IO[str]) -> None:
    stream.seek(0)
    stream.truncate()
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": now}, stream)
    stream.flush()


def _holder(stream: IO[str]) -> dict[str, str]:
    try:
        stream.seek(0)
        holder = json.load(stream)
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _describe(holder: dict[str, str]) -> str:
    if not holder:
        return "(of unknown origin)"
    since = str(holder.get("since", ""))[11:16]
    return f"(pid {holder.get('pid')} on {holder.get('host')}, since {since})"


def _lives(holder: dict[str, str]) -> bool:
    """Whether the holder is known to run; on another machine it is taken to."""
    if not holder:
        return False
    if holder.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError, KeyError):
        return True
    return True
