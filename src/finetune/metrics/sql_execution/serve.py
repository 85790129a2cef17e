"""The sandbox as a process of its own: queries come on its input, outcomes leave on its output.

A message is its length in 8 bytes, then `marshal` data, which holds SQLite's values as they are.
"""

from __future__ import annotations

import contextlib
import marshal
import resource
import sqlite3
import sys
from dataclasses import astuple
from pathlib import Path
from typing import IO, Any

from finetune.metrics.sql_execution.describe import describe
from finetune.metrics.sql_execution.sandbox import (
    Database,
    Limits,
    Schema,
    budgeted,
    opened,
    run,
)

_MEMORY_BYTES = 2 * 2**30  # of this process: SQLite's heap, a result twice, Python itself

Request = tuple[str, str] | tuple[str, tuple[Any, ...]]


def main() -> None:
    """Answer until the input ends; a database stays open until another is asked for."""
    _confine()
    with contextlib.ExitStack() as stack:
        connection: sqlite3.Connection | str = "no database was opened"
        while message := receive(sys.stdin.buffer):
            what, value = marshal.loads(message)
            if what == "run":
                send(sys.stdout.buffer, _answer(connection, *value))
            elif what == "describe":
                send(sys.stdout.buffer, _description(connection, *value))
            else:
                stack.close()
                connection = _open(stack, Schema(value) if what == "schema" else Path(value))


def send(stream: IO[bytes], value: Any) -> None:
    """Write one message."""
    data = marshal.dumps(value)
    stream.write(len(data).to_bytes(8, "big") + data)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes:
    """One message; empty when the other side is gone."""
    head = stream.read(8)
    return stream.read(int.from_bytes(head, "big")) if len(head) == 8 else b""


def opening(database: Database) -> Request:
    """What makes `main` open a database; the answer to the next query says if it could not."""
    if isinstance(database, Schema):
        return "schema", database.sql
    return "file", str(database)


def running(query: str, limits: Limits) -> Request:
    """What makes `main` run a query and answer with status, rows, message and columns."""
    return "run", (query, astuple(limits))


def describing(limits: Limits) -> Request:
    """What makes `main` answer with status, the values of a description, and a message."""
    return "describe", (astuple(limits),)


def _open(stack: contextlib.ExitStack, database: Database) -> sqlite3.Connection | str:
    """The connection, or why there is none."""
    try:
        return stack.enter_context(opened(database))
    except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError) as error:
        return str(error) or "out of memory"


def _answer(
    connection: sqlite3.Connection | str, query: str, limits: tuple[Any, ...]
) -> tuple[Any, ...]:
    if isinstance(connection, str):
        return "no_database", (), connection, ()
    outcome = run(connection, query, Limits(*limits))
    return outcome.status, outcome.rows, outcome.message, outcome.columns


def _description(connection: sqlite3.Connection | str, limits: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(connection, str):
        return "no_database", (), connection
    try:
        with budgeted(connection, Limits(*limits)):
            return "ok", describe(connection), ""
    except (sqlite3.Error, MemoryError) as error:
        return "no_database", (), str(error) or "out of memory"


def _confine() -> None:
    """Belt and braces: no memory without end, not one byte into any file."""
    for what, most in (
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # macOS has no limit on address space
            resource.setrlimit(what, (most, most))
