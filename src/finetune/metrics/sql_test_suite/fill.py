"""One filled copy of a database: same tables and keys, other rows, the same for a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from finetune.metrics.sql_execution.describe import Description, Link, Table, quoted
from finetune.metrics.sql_test_suite.patterns import Pattern
from finetune.metrics.sql_test_suite.pools import Pools
from finetune.metrics.sql_test_suite.values import as_number, unused
from finetune.metrics.sql_test_suite.witness import witness

Cells = dict[str, Any]  # column in lower case -> value

_TRIES = 20
_WITNESSES, _MOST_WITNESSES = 120, 6  # in a copy where queries are few; and of one pattern
_STRICT: dict[str, tuple[type, ...]] = {
    "INT": (int,),
    "INTEGER": (int,),
    "REAL": (int, float),
    "TEXT": (str,),
    "BLOB": (bytes,),
}
_MOST_ROWS = 2_000  # of one table, whatever its keys ask for


@dataclass(frozen=True)
class Flavour:
    """What makes copies differ in kind: how many rows, how few values, how many NULLs."""

    rows: tuple[int, int]
    nulls: float
    few: float  # share of columns with so few values that ties and duplicates are common


FLAVOURS = (
    Flavour((6, 14), 0.0, 0.3),
    Flavour((12, 24), 0.0, 0.6),
    Flavour((4, 10), 0.0, 0.1),
    Flavour((10, 20), 0.12, 0.4),
)


def fill(description: Description, patterns: Sequence[Pattern], flavour: Flavour, seed: str) -> str:
    """The copy as SQL: CREATE statements and rows; the same text for the same arguments."""
    copy = Copy(description, patterns, flavour, Random(seed))
    for table in description.tables:
        for _ in range(copy.rng.randint(*flavour.rows)):
            copy.add(table.name.lower(), {})
    times = min(_MOST_WITNESSES, max(1, _WITNESSES // max(1, len(patterns))))
    for pattern in copy.rng.sample([*patterns] * times, len(patterns) * times):
        witness(copy, pattern)
    copy.give_parents()
    return copy.sql()


class Copy:
    """Rows under construction; keys are unique at any time, and point somewhere in the end."""

    def __init__(
        self, description: Description, patterns: Sequence[Pattern], flavour: Flavour, rng: Random
    ) -> None:
        self.description, self.rng = description, rng
        self.tables = {table.name.lower(): table for table in description.tables}
        self.rows: dict[str, list[Cells]] = {name: [] for name in self.tables}
        self.pools = Pools(description, patterns, flavour.few, flavour.nulls, rng)
        self._keys: dict[tuple[str, tuple[str, ...]], dict[tuple[Any, ...], Cells]] = {}

    def add(self, name: str, fixed: Cells) -> Cells | None:
        """A row with these cells, an old one changed where its key is among them.

        None where the table has no room for another such row.
        """
        table = self.tables[name]
        old = self._with_key(table, fixed)
        if old is not None:
            keys = {column for key in unique_keys(table) for column in key}
            old.update({column: value for column, value in fixed.items() if column not in keys})
            return old
        if len(self.rows[name]) >= _MOST_ROWS:
            return None
        row = {**self._linked(table, fixed), **fixed}
        for column in table.columns:
            if column.name.lower() not in row:
                row[column.name.lower()] = self.pools.draw(name, column.name.lower())
        if not all(self._made_unique(table, key, row, fixed) for key in unique_keys(table)):
            return None
        for key in unique_keys(table):
            self._index(name, key)[_key(row, key)] = row
        self.rows[name].append(row)
        return row

    def give_parents(self) -> None:
        """Add the rows that foreign keys point to and that are not there yet."""
        waiting = [(name, row) for name, rows in self.rows.items() for row in rows]
        while waiting:
            name, row = waiting.pop()
            for link in self.tables[name].links:
                parent = link.table.lower()
                if parent not in self.tables or self._has_parent(link, row):
                    continue
                values = [row[column.lower()] for column in link.columns]
                made = self.add(
                    parent, dict(zip(map(str.lower, link.targets), values, strict=True))
                )
                if made is not None:
                    waiting.append((parent, made))

    def sql(self) -> str:
        """All of it as statements; a row that some CHECK forbids is left out by SQLite."""
        parts = [table.sql for table in self.description.tables]
        for table in self.description.tables:
            names = [column.name for column in table.columns]
            into = f"INSERT OR IGNORE INTO {quoted(table.name)} ({', '.join(map(quoted, names))})"
            rows = self.rows[table.name.lower()]
            for row in self.rng.sample(rows, len(rows)):
                if not _fits(table, row):
                    continue
                cells = ", ".join(literal(row[name.lower()]) for name in names)
                parts.append(f"{into} VALUES ({cells})")
        return ";\n".join([*parts, *self.description.views]) + ";\n"

    def _with_key(self, table: Table, fixed: Cells) -> Cells | None:
        for key in unique_keys(table):
            if all(fixed.get(column) is not None for column in key):
                found = self._index(table.name.lower(), key).get(_key(fixed, key))
                if found is not None:
                    return found
        return None

    def _linked(self, table: Table, fixed: Cells) -> Cells:
        """Foreign keys to rows that are there; some rows are pointed to far more than others."""
        cells: Cells = {}
        for link in table.links:
            columns = [column.lower() for column in link.columns]
            parents = self.rows.get(link.table.lower()) or []
            if parents and not set(columns) & ({*fixed} | {*cells}):
                parent = parents[int(len(parents) * self.rng.random() ** 2)]
                cells.update(zip(columns, _cells(parent, link.targets), strict=True))
                if self.pools.is_null(table.name.lower(), columns[0]):
                    cells.update(dict.fromkeys(columns))
        return cells

    def _made_unique(self, table: Table, key: tuple[str, ...], row: Cells, fixed: Cells) -> bool:
        """Change cells of the row that are not fixed until no other row has its key."""
        index = self._index(table.name.lower(), key)
        free = [column for column in key if column not in fixed]
        for _ in range(_TRIES):
            if None in (row[column] for column in key) or _key(row, key) not in index:
                return True
            if not free:
                return False
            linked = self._linked(table, {**fixed, **{c: row[c] for c in key if c not in free}})
            for column in free:
                row[column] = linked.get(column, unused(row[column], self.rng))
        return False

    def _has_parent(self, link: Link, row: Cells) -> bool:
        values = tuple(_plain(row[column.lower()]) for column in link.columns)
        targets = tuple(target.lower() for target in link.targets)
        if None in values:
            return True
        if targets in unique_keys(self.tables[link.table.lower()]):
            return values in self._index(link.table.lower(), targets)
        return any(_key(each, targets) == values for each in self.rows[link.table.lower()])

    def _index(self, table: str, key: tuple[str, ...]) -> dict[tuple[Any, ...], Cells]:
        return self._keys.setdefault((table, key), {})


def unique_keys(table: Table) -> list[tuple[str, ...]]:
    """The unique sets of columns in lower case."""
    return [tuple(column.lower() for column in key) for key in table.unique]


def _fits(table: Table, row: Cells) -> bool:
    """Whether SQLite takes the types of the cells; most columns take any."""
    strict = table.sql.upper().rstrip().endswith("STRICT")
    for column in table.columns:
        value, kind = row[column.name.lower()], column.type.upper()
        whole = kind == "INTEGER" and (column.name.lower(),) in unique_keys(table)
        wanted = _STRICT.get(kind) if strict else (int,) if whole else None
        if wanted and value is not None and not isinstance(value, wanted):
            return False
    return True


def _cells(row: Cells, columns: Sequence[str]) -> list[Any]:
    return [row[column.lower()] for column in columns]


def _key(row: Cells, columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple(_plain(row[column]) for column in columns)


def _plain(value: Any) -> Any:
    """A value for comparing keys: SQLite reads '1' as 1 in a column of numbers."""
    if isinstance(value, str):
        number = as_number(value)
        return value if number is None else number
    return value


def literal(value: Any) -> str:
    """A value as SQL writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value).replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    return "'" + text.replace("'", "''") + "'"
