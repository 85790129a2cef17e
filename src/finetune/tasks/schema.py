"""A database's schema as compact `CREATE TABLE` text for a prompt."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import lru_cache
from pathlib import Path


def schema_text(database: Path) -> str:
    """One `CREATE TABLE` line per table: names, types and keys, quoted only where SQL needs it.

    Raises:
        sqlite3.Error: the file is no SQLite database.
    """
    state = database.stat()
    return _read(database, state.st_mtime_ns, state.st_size)


def compact(schema: str) -> str:
    """Schema text given with a row, each statement on one line."""
    lines = (" ".join(part.split()) for part in schema.split(";"))
    return "\n".join(line for line in lines if line)


@lru_cache(maxsize=1024)
def _read(database: Path, _changed: int, _size: int) -> str:
    uri = f"{database.resolve().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' "
            "ESCAPE '\\' ORDER BY rowid"
        )
        return "\n".join(_table(connection, name) for (name,) in tables.fetchall())


def _table(connection: sqlite3.Connection, table: str) -> str:
    columns = connection.execute("SELECT name, type, pk FROM pragma_table_info(?)", (table,))
    described = columns.fetchall()
    keys = [name for name, _, pk in sorted(described, key=lambda each: each[2]) if pk]
    links = _links(connection, table)
    parts = []
    for name, kind, _ in described:
        part = f"{_name(connection, name)} {_kind(kind)}".strip()
        part += " PRIMARY KEY" if keys == [name] else ""
        parts.append(part + links.get(name, ""))
    if len(keys) > 1:
        parts.append(f"PRIMARY KEY ({', '.join(_name(connection, key) for key in keys)})")
    return f"CREATE TABLE {_name(connection, table)} ({', '.join(parts)})"


def _links(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    """Column -> " REFERENCES table(column)"; a key over several columns is named on each."""
    found = connection.execute(
        'SELECT "from", "table", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq', (table,)
    )
    links: dict[str, str] = {}
    for column, other, target in found.fetchall():
        to = f"({_name(connection, target)})" if target else ""
        links.setdefault(column, f" REFERENCES {_name(connection, other)}{to}")
    return links


def _kind(declared: str) -> str:
    """A column's type in lower case, without its length: varchar(20) -> varchar."""
    return re.sub(r"\s*\(.*\)", "", declared).lower()


def _name(connection: sqlite3.Connection, name: str) -> str:
    """A name as SQL takes it: plain, or in double quotes."""
    if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        try:
            connection.execute(f"EXPLAIN SELECT 1 AS {name}")
            return name
        except sqlite3.OperationalError:
            pass  # a reserved word: SQLite itself knows best which those are
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
