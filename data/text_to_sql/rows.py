"""Seeded rows for the described tables, plausible and linked by their foreign keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from random import Random
from typing import Any

from text_to_sql.schema import Column, Database, Row, Table, Value, read_content

IDLE_PARENTS = (
    0.15  # this share of a parent table has no children, so that "without any" has an answer
)
MISSING = 0.25  # this share of an optional column is NULL


def fill(database: Database, seed: int) -> Database:
    """The same database with rows; a table may only point at tables described before it."""
    pools = read_content("pools.toml")
    rows: dict[str, list[Row]] = {}
    for table in database.tables:
        rng = Random(f"{seed}/{database.name}/{table.name}")
        columns = {
            column.name: _values(column, table, rows, pools, rng) for column in table.columns
        }
        rows[table.name] = [
            {name: values[index] for name, values in columns.items()} for index in range(table.rows)
        ]
    return replace(database, rows=rows)


def _values(
    column: Column, table: Table, rows: dict[str, list[Row]], pools: dict[str, Any], rng: Random
) -> list[Value]:
    count = table.rows
    if column.role == "key":
        keys: list[Value] = [*range(1, count + 1)]
        return keys
    if column.role == "ref":
        parents = len(rows[column.to])
        active = sorted(rng.sample(range(1, parents + 1), round(parents * (1 - IDLE_PARENTS))))
        linked: list[Value] = [*rng.sample(active, min(len(active), count))]
        return [*linked, *rng.choices(active, k=count)][:count]
    if column.role == "optional":
        candidates = _distinct(_candidates(column, pools, rng), count, rng)
        return [None if rng.random() < MISSING else str(value) for value in candidates]
    if column.role == "kind":
        names = [str(name) for name in _candidates(column, pools, rng)]
        return [*rng.choices(names, weights=range(2, len(names) + 2), k=count)]
    return _distinct(_candidates(column, pools, rng), count, rng)


def _candidates(column: Column, pools: dict[str, Any], rng: Random) -> list[Value]:
    if column.values:
        return list(column.values)
    if column.pool:
        return _pooled(pools[column.pool], rng)
    if column.role == "date":
        first = date(column.year, 1, 1)
        return [(first + timedelta(days=day)).isoformat() for day in range(365)]
    steps = round((column.high - column.low) / column.step)
    numbers = [round(column.low + step * column.step, 2) for step in range(steps + 1)]
    if column.prefix:
        return [f"{column.prefix}{number:g}" for number in numbers]
    return [float(number) if column.sql_type == "REAL" else int(number) for number in numbers]


def _pooled(pool: Any, rng: Random) -> list[Value]:
    if isinstance(pool, list):
        return sorted(rng.sample(pool, min(7, len(pool))))
    return [f"{first} {second}".strip() for first in pool["first"] for second in pool["second"]]


def _distinct(candidates: list[Value], count: int, rng: Random) -> list[Value]:
    """Distinct values where there are enough of them; repeated ones otherwise."""
    if len(candidates) >= count:
        return rng.sample(candidates, count)
    return rng.choices(candidates, k=count)
