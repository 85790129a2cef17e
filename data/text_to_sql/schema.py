"""The described databases: their tables and columns, and how questions speak of them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

CONTENT = Path(__file__).parent / "content"
Value: TypeAlias = str | int | float | None
Row: TypeAlias = dict[str, Value]


@dataclass(frozen=True)
class Column:
    """One column; the lists hold wordings, with {v} where a value (or a noun phrase) belongs."""

    name: str
    role: str  # key, ref, label, kind, text, optional, number, year, date
    say: list[str]
    plural: list[str] = field(default_factory=list)
    uncountable: bool = False
    pool: str = ""
    values: list[str] = field(default_factory=list)
    prefix: str = ""
    low: float = 0
    high: float = 0
    step: float = 1
    year: int = 0
    total: bool = False  # a sum over this column means something
    same: list[str] = field(default_factory=list)
    more: list[str] = field(default_factory=list)
    less: list[str] = field(default_factory=list)
    most: list[str] = field(default_factory=list)
    least: list[str] = field(default_factory=list)
    ask: list[str] = field(default_factory=list)
    to: str = ""
    by: list[str] = field(default_factory=list)
    by_many: list[str] = field(default_factory=list)
    did: list[str] = field(default_factory=list)
    parent_ask: list[str] = field(default_factory=list)

    @property
    def sql_type(self) -> str:
        if self.role in ("key", "ref", "year"):
            return "INTEGER"
        if self.role == "number":
            return "INTEGER" if float(self.step).is_integer() else "REAL"
        return "TEXT"


@dataclass(frozen=True)
class Table:
    name: str
    rows: int
    one: list[str]
    many: list[str]
    columns: list[Column]
    person: bool = False

    def with_roles(self, *roles: str) -> list[Column]:
        return [column for column in self.columns if column.role in roles]

    @property
    def key(self) -> Column:
        return self.with_roles("key")[0]

    @property
    def label(self) -> Column | None:
        """The column that names a row; an event such as a sale has none."""
        return next(iter(self.with_roles("label")), None)


@dataclass(frozen=True)
class Link:
    """A foreign key: `child.column` points at `parent`."""

    child: Table
    column: Column
    parent: Table

    @property
    def join(self) -> str:
        child, parent = self.child.name, self.parent.name
        return (
            f"FROM {child} JOIN {parent} "
            f"ON {child}.{self.column.name} = {parent}.{self.parent.key.name}"
        )


@dataclass(frozen=True)
class Database:
    name: str
    tables: list[Table]
    unseen: bool
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def table(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)

    @property
    def links(self) -> list[Link]:
        return [
            Link(child=table, column=column, parent=self.table(column.to))
            for table in self.tables
            for column in table.with_roles("ref")
        ]

    def create_statements(self) -> list[str]:
        return [
            f"CREATE TABLE {table.name} ({', '.join(self._columns(table))})"
            for table in self.tables
        ]

    def _columns(self, table: Table) -> list[str]:
        parts = []
        for column in table.columns:
            text = f"{column.name} {column.sql_type}"
            if column.role == "key":
                text += " PRIMARY KEY"
            if column.role == "ref":
                text += f" REFERENCES {column.to}({self.table(column.to).key.name})"
            parts.append(text)
        return parts


def read_content(name: str) -> dict[str, Any]:
    with (CONTENT / name).open("rb") as source:
        return tomllib.load(source)


def read_databases() -> list[Database]:
    """All described databases in the order of their names, still without rows."""
    paths = sorted((CONTENT / "databases").glob("*.toml"))
    return [_database(path.stem, read_content(f"databases/{path.name}")) for path in paths]


def _database(name: str, content: dict[str, Any]) -> Database:
    tables = [_table(table, parts) for table, parts in content["table"].items()]
    return Database(name=name, tables=tables, unseen=bool(content.get("unseen", False)))


def _table(name: str, content: dict[str, Any]) -> Table:
    columns = [
        Column(name=column, **{"say": [column.replace("_", " ")], **parts})
        for column, parts in content["columns"].items()
    ]
    return Table(name=name, **{**content, "columns": columns})
