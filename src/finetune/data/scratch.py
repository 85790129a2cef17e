"""Folders that last as long as something reads them, in the one for temporary files (TMPDIR).

Each is locked by its process, and the system frees the lock when that dies. So whoever makes the
next one finds what a killed process has left, and removes it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from multiprocessing import util
from pathlib import Path

from finetune.console import say
from finetune.sizes import size_text

try:
    import fcntl
except ImportError:  # no such locks on Windows: there nothing of others is touched
    fcntl = None  # type: ignore[assignment]

PREFIX = "finetune-scratch-"


class Scratch:
    """A folder, gone with this object or with its process."""

    def __init__(self) -> None:
        remove_left()
        self.folder, lock = _locked()
        # Not a plain finalizer: those do not run where a process made by multiprocessing ends.
        util.Finalize(self, _remove, args=(self.folder, lock), exitpriority=0)


def remove_left() -> None:
    """Remove the folders whose processes are dead, and say so."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if (lock := _lock(folder, wait=False)) is not None:
            held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            _remove(folder, lock)
            say(f"  removed {size_text(held)} in {folder}, left by a process that was killed")


def _locked() -> tuple[Path, int | None]:
    """A new folder and its lock; another one if it was taken for a dead process's meanwhile."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = _lock(folder, wait=True)
        if folder.is_dir():
            return folder, lock
        _remove(folder, lock)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """Handle that locks a folder until it is closed; None where another holds it or none can."""
    if fcntl is None:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(handle)
        return None
    return handle


def _remove(folder: Path, lock: int | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)
