"""The sandbox as a process of its own: queries come on its input, outcomes leave on its output.

A message is its length in 8 bytes, then `marshal` data, which holds SQLite's values as they are.
"""

from __future__ import annotations

import contextlib
import marshal
import resource
import sqlite3
import sys
from pathlib import Path
from typing import IO, Any

from finetune.metrics.sql_execution.sandbox import Database, Limits, Outcome, Schema, opened, run

_MEMORY_BYTES = 2 * 2**30  # of this process: SQLite's heap, a result twice, Python itself

Request = tuple[str, str, str, tuple[Any, ...]]


def main() -> None:
    """Answer until the input ends."""
    _confine()
    while message := receive(sys.stdin.buffer):
        kind, database, query, limits = marshal.loads(message)
        outcome = _answer(_database(kind, database), query, Limits(*limits))
        send(sys.stdout.buffer, (outcome.status, outcome.rows, outcome.message))


def send(stream: IO[bytes], value: Any) -> None:
    """Write one message."""
    data = marshal.dumps(value)
    stream.write(len(data).to_bytes(8, "big") + data)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes:
    """One message; empty when the other side is gone."""
    head = stream.read(8)
    return stream.read(int.from_bytes(head, "big")) if len(head) == 8 else b""


def request(database: Database, query: str, limits: Limits) -> Request:
    """What `main` takes: the query, where to run it and what it may use."""
    spent = (limits.steps, limits.seconds, limits.rows, limits.result_bytes)
    if isinstance(database, Schema):
        return "schema", database.sql, query, spent
    return "file", str(database), query, spent


def _database(kind: str, text: str) -> Database:
    return Schema(text) if kind == "schema" else Path(text)


def _answer(database: Database, query: str, limits: Limits) -> Outcome:
    try:
        with opened(database) as connection:
            return run(connection, query, limits)
    except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError) as error:
        return Outcome("no_database", message=str(error) or "out of memory")


def _confine() -> None:
    """Belt and braces: no memory without end, not one byte into any file."""
    for what, most in (
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # macOS has no limit on address space
            resource.setrlimit(what, (most, most))
