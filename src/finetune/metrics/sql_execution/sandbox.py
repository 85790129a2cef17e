"""Runs queries that nobody has read on a database that must not change.

Follows SQLite's "Defense Against The Dark Arts" (sqlite.org/security.html): the file is opened
read-only and immutable, an authorizer lets nothing but reading through, and size, work, time and
memory are bounded. It runs in a process of its own (`worker`), which bounds what SQLite cannot.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from sys import getsizeof
from typing import Any, Literal

Row = tuple[Any, ...]
Status = Literal["ok", "error", "over_limit", "timeout", "no_database"]

_READING = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_OUTSIDE = {
    sqlite3.SQLITE_ATTACH,  # VACUUM INTO asks for this one too
    sqlite3.SQLITE_DETACH,
    sqlite3.SQLITE_PRAGMA,
    sqlite3.SQLITE_CREATE_VTABLE,
}
_FUNCTIONS_REFUSED = {"load_extension", "fts3_tokenizer", "randomblob"}
_SIZES = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1_000_000,  # bytes of one value or row
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 500,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 50_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 32,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_HEAP_BYTES = 64 * 2**20  # of SQLite in this process; no later PRAGMA can raise it
_SCRIPT_BYTES = 20_000_000  # of a schema, with rows or without
_STEPS_PER_CHECK = 500


@dataclass(frozen=True)
class Schema:
    """SQL text in place of a file: queries run on the database that it makes in memory."""

    sql: str


Database = Path | Schema


@dataclass(frozen=True)
class Limits:
    """What one query may use.

    `steps` (of SQLite's virtual machine) stop the same query at the same place on any machine;
    `seconds` are the net below, for steps that take long. `result_bytes` counts what the rows
    take as Python values, of which two copies and two messages exist for a moment.
    """

    steps: int = 50_000_000
    seconds: float = 5.0
    rows: int = 100_000
    result_bytes: int = 24_000_000


@dataclass(frozen=True)
class Outcome:
    """`rows` and names of `columns` when `status` is "ok", else `message` in SQLite's words."""

    status: Status
    rows: tuple[Row, ...] = ()
    message: str = ""
    columns: tuple[str, ...] = ()


@contextmanager
def opened(database: Database) -> Iterator[sqlite3.Connection]:
    """A connection that can only read.

    Raises:
        sqlite3.Error: the file cannot be opened, or the schema text is not valid.
    """
    if isinstance(database, Path):
        uri = f"{database.resolve().as_uri()}?mode=ro&immutable=1"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    else:
        connection = sqlite3.connect(":memory:", isolation_level=None)
    with closing(connection):
        _harden(connection)
        if isinstance(database, Schema):
            _build(connection, database)
        connection.execute("PRAGMA query_only = ON")
        connection.set_authorizer(_reading_only)
        yield connection


@contextmanager
def budgeted(connection: sqlite3.Connection, limits: Limits) -> Iterator[None]:
    """Our own statements, which the authorizer need not see, within the limits of a query."""
    connection.set_authorizer(None)
    connection.set_progress_handler(_Budget(limits).spent, _STEPS_PER_CHECK)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)
        connection.set_authorizer(_reading_only)


def run(connection: sqlite3.Connection, query: str, limits: Limits) -> Outcome:
    """The rows that a query returns, or why it does not; never raises for what the query says."""
    budget = _Budget(limits)
    connection.set_progress_handler(budget.spent, _STEPS_PER_CHECK)
    try:
        rows, columns = _fetch(connection, query, limits)
        return Outcome("ok", rows, columns=columns)
    except _TooMuch as error:
        return Outcome("over_limit", message=str(error))
    except MemoryError:
        return Outcome("over_limit", message="out of the memory that a query may use")
    # Older Pythons raise `sqlite3.Warning` for a second statement, ValueError for a NUL character.
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        return Outcome(budget.stopped or "error", message=str(error))
    finally:
        connection.set_progress_handler(None, 0)


class _TooMuch(Exception):
    """A result larger than the limits."""


class _Budget:
    """Counts the work of one query; `stopped` says which limit ended it."""

    def __init__(self, limits: Limits) -> None:
        self.steps_left = limits.steps
        self.deadline = time.monotonic() + limits.seconds
        self.stopped: Status | None = None

    def spent(self) -> bool:
        """Called by SQLite every so many steps; True stops the query."""
        self.steps_left -= _STEPS_PER_CHECK
        if self.steps_left <= 0:
            self.stopped = "over_limit"
        elif time.monotonic() > self.deadline:
            self.stopped = "timeout"
        return self.stopped is not None


def _fetch(
    connection: sqlite3.Connection, query: str, limits: Limits
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    rows: list[Row] = []
    size = 0
    with closing(connection.execute(query)) as cursor:
        if cursor.description is None:
            raise ValueError("not a query")  # an empty text, or a comment alone
        for row in cursor:
            rows.append(row)
            size += getsizeof(row) + sum(map(getsizeof, row))
            if len(rows) > limits.rows or size > limits.result_bytes:
                raise _TooMuch(f"more than {limits.rows} rows or {limits.result_bytes} bytes")
        names = tuple(str(each[0]) for each in cursor.description)
    return tuple(rows), names


def _harden(connection: sqlite3.Connection) -> None:
    for pragma in (
        "trusted_schema = OFF",
        "cell_size_check = ON",
        "mmap_size = 0",
        "temp_store = MEMORY",  # sorting must not fill the disk
        f"hard_heap_limit = {_HEAP_BYTES}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    for what, most in _SIZES.items():
        connection.setlimit(what, most)
    # Text that is not UTF-8 keeps its bytes, so that unequal values stay unequal.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    # The same score every time: `ORDER BY random()` is the order of the table.
    connection.create_function("random", 0, lambda: 0)


def _build(connection: sqlite3.Connection, schema: Schema) -> None:
    budget = _Budget(Limits())
    connection.set_authorizer(_inside_only)
    connection.set_progress_handler(budget.spent, _STEPS_PER_CHECK)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _SCRIPT_BYTES)
    connection.executescript(schema.sql)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _SIZES[sqlite3.SQLITE_LIMIT_SQL_LENGTH])
    connection.set_authorizer(None)
    connection.set_progress_handler(None, 0)


def _reading_only(action: int, _first: str | None, second: str | None, *_: object) -> int:
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FUNCTIONS_REFUSED:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def _inside_only(action: int, first: str | None, second: str | None, *_: object) -> int:
    """For schema text: anything inside the database in memory, nothing outside it."""
    if action == sqlite3.SQLITE_FUNCTION:
        return _reading_only(action, first, second)
    return sqlite3.SQLITE_DENY if action in _OUTSIDE else sqlite3.SQLITE_OK
