"""Which column a name in a query means: one spelling for each column of a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from finetune.metrics.sql_execution.describe import Description


@dataclass(frozen=True)
class Names:
    """Names of a database in lower case.

    `same` maps `table.column` to one spelling for all columns that foreign keys tie together.
    """

    tables: Mapping[str, tuple[str, ...]]
    same: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> set[str]:
        """Every column name."""
        return {column for columns in self.tables.values() for column in columns}


@dataclass(frozen=True)
class Scope:
    """The tables that a SELECT reads, by alias, inside those of the queries around it.

    A value is a table's name, or "" for a subquery.
    """

    names: Names
    sources: Mapping[str, str]
    outer: Scope | None = None

    def column(self, table: str, column: str) -> str:
        """The one spelling of a column; `table` is its alias, name or ""."""
        table, column = table.lower(), column.lower()
        source = self._of_alias(table) if table else self._with_column(column)
        full = f"{source or table}.{column}" if source or table else column
        return self.names.same.get(full, full)

    def _of_alias(self, alias: str) -> str:
        if alias in self.sources:
            return self.sources[alias]
        return self.outer._of_alias(alias) if self.outer else alias

    def _with_column(self, column: str) -> str:
        for table in self.sources.values():
            if column in self.names.tables.get(table, ()):
                return table
        return self.outer._with_column(column) if self.outer else ""


def names_of(description: Description) -> Names:
    """The names of a database."""
    tables = {
        table.name.lower(): tuple(column.name.lower() for column in table.columns)
        for table in description.tables
    }
    same: dict[str, str] = {}
    for table in description.tables:
        for link in table.links:
            for column, target in zip(link.columns, link.targets, strict=True):
                one = f"{table.name}.{column}".lower()
                other = f"{link.table}.{target}".lower()
                _tie(same, one, other)
    return Names(tables, same)


def _tie(same: dict[str, str], one: str, other: str) -> None:
    """Give both, and all that are tied to them, the first spelling in the alphabet."""
    spellings = {same.get(one, one), same.get(other, other)}
    first = min(spellings)
    for name in [*same, one, other]:
        if same.get(name, name) in spellings:
            same[name] = first
