"""What a database is made of: tables, columns, keys, and some of the values in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

_ROWS_LOOKED_AT = 20_000
_VALUES_KEPT = 300


@dataclass(frozen=True)
class Column:
    """`values` are some distinct ones of its rows, in the order of the table, NULL left out."""

    name: str
    type: str
    not_null: bool
    has_null: bool = False
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Link:
    """A foreign key: `columns` of the table that has it point to `targets` of `table`."""

    columns: tuple[str, ...]
    table: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """`unique` are the sets of columns, primary key first, whose values stand once."""

    name: str
    sql: str
    columns: tuple[Column, ...]
    unique: tuple[tuple[str, ...], ...]
    links: tuple[Link, ...]
    rows: int = 0


@dataclass(frozen=True)
class Description:
    """A database; names keep their spelling, and SQLite knows them in any."""

    tables: tuple[Table, ...]
    views: tuple[str, ...] = field(default=())  # their CREATE statements


def describe(connection: sqlite3.Connection) -> tuple[Any, ...]:
    """Plain values of a `Description`, as `described` takes them."""
    found = connection.execute(
        "SELECT type, name, sql FROM sqlite_master ORDER BY rowid"
    ).fetchall()
    tables = [
        _table(connection, name, sql)
        for kind, name, sql in found
        if kind == "table" and not name.lower().startswith("sqlite_") and "VIRTUAL" not in sql[:20]
    ]
    return tables, [sql for kind, _, sql in found if kind == "view"]


def described(values: tuple[Any, ...]) -> Description:
    """The inverse of `describe`."""
    tables, views = values
    return Description(
        tuple(
            Table(
                name,
                sql,
                tuple(Column(n, t, bool(o), bool(h), tuple(v)) for n, t, o, h, v in columns),
                tuple(map(tuple, unique)),
                tuple(Link(tuple(c), t, tuple(k)) for c, t, k in links),
                rows,
            )
            for name, sql, columns, unique, links, rows in tables
        ),
        tuple(views),
    )


def quoted(name: str) -> str:
    """A name as SQL takes any."""
    return '"' + name.replace('"', '""') + '"'


def _table(connection: sqlite3.Connection, table: str, sql: str) -> tuple[Any, ...]:
    info = connection.execute(
        'SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?) WHERE hidden = 0', (table,)
    ).fetchall()
    primary = [name for name, *_, pk in sorted(info, key=lambda each: each[3]) if pk]
    (rows,) = connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()
    columns = [
        (name, kind, not_null or name in primary, *_values(connection, table, name))
        for name, kind, not_null, _ in info
    ]
    return table, sql, columns, _unique(connection, table, primary), _links(connection, table), rows


def _values(connection: sqlite3.Connection, table: str, column: str) -> tuple[bool, list[Any]]:
    name = quoted(column)
    found = connection.execute(
        f"SELECT DISTINCT {name} FROM (SELECT {name} FROM {quoted(table)} LIMIT {_ROWS_LOOKED_AT})"
        f" LIMIT {_VALUES_KEPT}"
    )
    values = [value for (value,) in found.fetchall()]
    return None in values, [value for value in values if value is not None]


def _unique(connection: sqlite3.Connection, table: str, primary: list[str]) -> list[list[str]]:
    """The primary key and the columns of every whole unique index, each once."""
    found = [primary] if primary else []
    indexes = connection.execute(
        'SELECT name FROM pragma_index_list(?) WHERE "unique" AND NOT partial ORDER BY seq',
        (table,),
    )
    for (index,) in indexes.fetchall():
        columns = connection.execute(
            "SELECT name FROM pragma_index_info(?) ORDER BY seqno", (index,)
        )
        names = [name for (name,) in columns.fetchall()]
        if None not in names and sorted(names) not in map(sorted, found):
            found.append(names)
    return found


def _links(connection: sqlite3.Connection, table: str) -> list[Any]:
    found: dict[int, tuple[list[str], str, list[str]]] = {}
    rows: Iterable[tuple[int, str, str, str | None]] = connection.execute(
        'SELECT id, "from", "table", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq',
        (table,),
    ).fetchall()
    for number, column, other, target in rows:
        columns, _, targets = found.setdefault(number, ([], other, []))
        columns.append(column)
        # Without a name the key points to the other table's primary key.
        targets += [target] if target else _primary(connection, other)[len(targets) :][:1]
    return [list(link) for link in found.values() if len(link[0]) == len(link[2])]


def _primary(connection: sqlite3.Connection, table: str) -> list[str]:
    found = connection.execute(
        "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", (table,)
    )
    return [name for (name,) in found.fetchall()]
