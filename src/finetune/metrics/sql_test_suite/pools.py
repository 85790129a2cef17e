"""The values that a column of a copy draws from."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from finetune.metrics.sql_execution.describe import Column, Description
from finetune.metrics.sql_test_suite.patterns import Condition, Pattern
from finetune.metrics.sql_test_suite.values import apart, fresh, near

_FEW = (2, 3, 4)
_MANY = (8, 12, 20)
_ORDERED = 0.3  # columns that a query sorts by have ties in fewer copies


class Pools:
    """For each column the values it has in the original, and those near the constants.

    Columns that a query compares with each other draw from the same values, so that they meet.
    """

    def __init__(
        self,
        description: Description,
        patterns: Sequence[Pattern],
        few: float,
        nulls: float,
        rng: Random,
    ) -> None:
        self._rng, self._few, self._nulls = rng, few, nulls
        self._columns: dict[tuple[str, str], Column] = {
            (table.name.lower(), column.name.lower()): column
            for table in description.tables
            for column in table.columns
        }
        self._conditions: dict[tuple[str, str], list[Condition]] = {}
        self._tied: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self._ordered: set[tuple[str, str]] = set()
        self._apart: set[tuple[str, str]] = set()
        for pattern in patterns:
            for condition in pattern.conditions:
                place = _of(pattern, condition.place)
                self._conditions.setdefault(place, []).append(condition)
            for one, other in pattern.equal:
                a, b = _of(pattern, one), _of(pattern, other)
                self._tied.setdefault(a, []).append(b)
                self._tied.setdefault(b, []).append(a)
            self._ordered |= {_of(pattern, place) for place in pattern.ordered}
        self._pools: dict[tuple[str, str], list[Any]] = {}

    def draw(self, table: str, column: str) -> Any:
        """A value for a cell, NULL now and then where the column may hold it."""
        if self.is_null(table, column):
            return None
        place = table, column
        if place not in self._pools:
            self._pools[place] = self._pool(place)
        value = self._rng.choice(self._pools[place])
        return apart(value, self._rng) if place in self._apart else value

    def is_null(self, table: str, column: str) -> bool:
        """Whether the next cell of this column is to be NULL."""
        found = self._columns[table, column]
        share = max(self._nulls, 0.1 if found.has_null else 0.0)
        return not found.not_null and self._rng.random() < share

    def _pool(self, place: tuple[str, str]) -> list[Any]:
        column, rng = self._columns[place], self._rng
        few = rng.random() < self._few * (_ORDERED if place in self._ordered else 1)
        size = rng.choice(_FEW if few else _MANY)
        if place in self._ordered and not few:
            self._apart.add(place)
        own = list(column.values)
        for tied in self._tied.get(place, ()):
            own += self._columns[tied].values[:20]
        pool = rng.sample(own, min(size, len(own)))
        constants = [
            v for c in self._conditions.get(place, ()) for v in c.values if c.sign != "like"
        ]
        for value in rng.sample(constants, min(len(constants), size)):
            pool += [value, near(value, rng)]
        while len(pool) < size:
            pool.append(fresh(column.type, column.name, rng))
        return pool


def _of(pattern: Pattern, place: tuple[int, str]) -> tuple[str, str]:
    return pattern.tables[place[0]], place[1]
