"""How many wrong queries are caught: by a database as it is, and by filled copies of it.

    python benchmarks/sql_mutants.py FOLDER [--copies 8] [--rows N]

FOLDER is in Spider's layout (`dev.jsonl`, `database/`). Every right query is changed in one place
in all ways that `sql_mutations` knows; mutants that do not run are left out. DISTINCT counts.

A mutant is taken for equivalent when nothing tells it from the right query: not the database,
not the copies, none of 150 databases of the own values with columns shuffled, cells redrawn
around the constants of both queries and few rows, and none of 100 other small fillings made
for this pair alone. This can only err in calling a wrong query equivalent that is very hard to
tell; so the survivors can be listed with `--survivors FILE` and read.

Beside it stand false alarms: right queries written another way (conditions and joined tables in
another order, `a >= b` for `b <= a`) that are called wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import sql_mutations
from sqlglot import exp

from finetune.metrics.sql_exact_set_match.names import names_of
from finetune.metrics.sql_execution.compare import equal_results
from finetune.metrics.sql_execution.describe import Description, quoted
from finetune.metrics.sql_execution.sandbox import Limits, Outcome, Schema
from finetune.metrics.sql_execution.text import is_ordered
from finetune.metrics.sql_execution.worker import Worker
from finetune.metrics.sql_parse import parse
from finetune.metrics.sql_test_suite.fill import Flavour, fill, literal
from finetune.metrics.sql_test_suite.patterns import patterns
from finetune.metrics.sql_test_suite.suite import Suite, build
from finetune.metrics.sql_test_suite.ties import equal_in_groups

LIMITS = Limits(steps=5_000_000, seconds=3.0)
SHUFFLED, SMALL = 150, 100
SMALL_FLAVOURS = (Flavour((0, 3), 0.0, 0.8), Flavour((1, 6), 0.1, 0.5))


@dataclass(frozen=True)
class Mutant:
    """A wrong query, and whether the database and the copies catch it."""

    database: str
    kind: str
    gold: str
    query: str
    by_one: bool
    by_suite: bool


@dataclass
class Found:
    """What is counted over all databases."""

    mutants: list[Mutant] = field(default_factory=list)
    equivalent: list[Mutant] = field(default_factory=list)
    failing: int = 0
    rewritten: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)


def main() -> None:
    """Measure and write a table to standard output."""
    options = _options()
    begun = time.perf_counter()
    rows = [json.loads(line) for line in (options.folder / "dev.jsonl").open(encoding="utf-8")]
    golds: dict[str, list[str]] = defaultdict(list)
    for row in rows[: options.rows]:
        if row["query"] not in golds[row["db_id"]]:
            golds[row["db_id"]].append(row["query"])
    found = Found()
    with Worker() as worker:
        for name, queries in golds.items():
            file = options.folder / "database" / f"{name}.sqlite"
            measure(worker, file, queries, options.copies, found)
    sys.stdout.write(table(found, options.copies))
    sys.stdout.write(f"{time.perf_counter() - begun:.0f} s\n")
    if options.survivors:
        left = [m for m in found.mutants if not m.by_one and not m.by_suite]
        kept = {"missed": left, "taken for equivalent": found.equivalent}
        text = json.dumps({k: [vars(m) for m in v] for k, v in kept.items()}, indent=1)
        options.survivors.write_text(text, encoding="utf-8")


def measure(worker: Worker, file: Path, golds: list[str], copies: int, found: Found) -> None:
    """Count the mutants of one database's right queries."""
    description = worker.describe(file, LIMITS)
    assert isinstance(description, Description), description
    suite = build(worker, description, golds, copies, LIMITS)
    tables = {t.name.lower(): [c.name for c in t.columns] for t in description.tables}
    values = {c.name.lower(): c.values[:5] for t in description.tables for c in t.columns}
    right = {gold: worker.run(file, gold, LIMITS) for gold in golds}
    candidates = [
        (kind, gold, query, worker.run(file, query, LIMITS))
        for gold in golds
        for kind, query in sql_mutations.mutants(gold, tables, values)
    ]
    running = [each for each in candidates if each[3].status != "error"]
    found.failing += len(candidates) - len(running)
    caught = _caught(worker, suite, {(gold, query) for _, gold, query, _ in running})
    mutants = [
        Mutant(
            file.stem,
            kind,
            gold,
            query,
            not _same(right[gold], outcome, ordered=is_ordered(gold)),
            (gold, query) in caught,
        )
        for kind, gold, query, outcome in running
    ]
    left = [m for m in mutants if not m.by_one and not m.by_suite]
    told = _told_apart(worker, description, left)
    for mutant in mutants:
        certain = mutant.by_one or mutant.by_suite or (mutant.gold, mutant.query) in told
        (found.mutants if certain else found.equivalent).append(mutant)
    _rewrites(worker, suite, golds, description, found)


def table(found: Found, copies: int) -> str:
    """The rates by kind, and over all."""
    heads = ("mutants", "database", f"{copies} copies", "together", "equivalent")
    lines = [f"{'mutation':<34}" + "".join(f"{head:>12}" for head in heads)]
    same = Counter(mutant.kind for mutant in found.equivalent)
    for kind in [*sorted({mutant.kind for mutant in found.mutants}), "all"]:
        some = [mutant for mutant in found.mutants if kind in (mutant.kind, "all")]
        caught = (
            [mutant.by_one for mutant in some],
            [mutant.by_suite for mutant in some],
            [mutant.by_one or mutant.by_suite for mutant in some],
        )
        rates = "".join(f"{100 * sum(each) / len(some):>11.1f}%" for each in caught)
        count = same.total() if kind == "all" else same[kind]
        lines.append(f"{kind:<34}{len(some):>12}{rates}{count:>12}")
    lines.append(f"left out since they do not run: {found.failing}")
    for kind, count in found.rewritten.items():
        share = 100 * found.alarms[kind] / count
        lines.append(f"right, written otherwise ({kind}): {count}, called wrong: {share:.1f}%")
    return "\n".join(lines) + "\n"


def _same(right: Outcome, other: Outcome, *, ordered: bool) -> bool:
    ok = right.status == other.status == "ok"
    return ok and equal_results(right.rows, other.rows, ordered=ordered)


def _caught(worker: Worker, suite: Suite, pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The pairs that some copy tells apart, judged as the metric judges."""
    caught: set[tuple[str, str]] = set()
    for copy in suite:
        left = sorted(pairs - caught)
        golds = {gold: worker.run(copy.database, gold, LIMITS) for gold in {g for g, _ in left}}
        for gold, query in left:
            ends = copy.groups.get(gold)
            if ends is None:
                continue
            outcome = worker.run(copy.database, query, LIMITS)
            if outcome.status != "ok" or not equal_in_groups(golds[gold].rows, outcome.rows, ends):
                caught.add((gold, query))
    return caught


def _told_apart(
    worker: Worker, description: Description, mutants: list[Mutant]
) -> set[tuple[str, str]]:
    """Pairs that differ on some database made for this question alone."""
    told: set[tuple[str, str]] = set()
    names = names_of(description)
    for mutant in mutants:
        gold, query = mutant.gold, mutant.query
        constants = [*_constants(gold), *_constants(query)]
        own = list(dict.fromkeys([*patterns(gold, names), *patterns(query, names)]))
        for number in range(SHUFFLED + SMALL):
            if number < SHUFFLED:
                script = shuffled(description, constants, Random(number))
            else:
                flavour = SMALL_FLAVOURS[number % len(SMALL_FLAVOURS)]
                script = fill(description, own, flavour, f"pair {number}")
            database = Schema(script)
            right, other = (worker.run(database, each, LIMITS) for each in (gold, query))
            if right.status == "ok" and not _same(right, other, ordered=is_ordered(gold)):
                told.add((gold, query))
                break
    return told


def shuffled(description: Description, constants: list[Any], rng: Random) -> str:
    """A few rows a table out of the database's own values, each column in an order of its own."""
    parts = [table.sql for table in description.tables]
    few = {
        column.name.lower(): rng.sample(
            column.values, min(len(column.values), rng.choice((1, 2, 4)))
        )
        for table in description.tables
        for column in table.columns
    }
    for table in description.tables:
        for _ in range(rng.choice((0, 1, 2, 3, 5, 8))):
            cells = []
            for column in table.columns:
                pool = [*few[column.name.lower()], *column.values[:2]] or [1]
                value = rng.choice(pool)
                if constants and rng.random() < 0.4:
                    value = _around(rng.choice(constants), rng)
                if not column.not_null and rng.random() < 0.05:
                    value = None
                cells.append(literal(value))
            parts.append(f"INSERT OR IGNORE INTO {quoted(table.name)} SELECT {', '.join(cells)}")
    return ";\n".join(parts)


def _around(constant: Any, rng: Random) -> Any:
    if isinstance(constant, str):
        return rng.choice((constant, constant + "x", constant.upper()))
    return constant + rng.choice((-1, -0.5, 0, 0, 0.5, 1))


def _constants(query: str) -> list[Any]:
    return [
        node.name if node.is_string else float(node.name)
        for node in parse(query).find_all(exp.Literal)
    ]


def _rewrites(
    worker: Worker, suite: Suite, golds: list[str], description: Description, found: Found
) -> None:
    """Right queries written otherwise, and those of them that a copy calls wrong."""
    columns = {column.name.lower() for table in description.tables for column in table.columns}
    for gold in golds:
        for kind, query in sql_mutations.rewrites(gold, columns):
            found.rewritten[kind] += 1
            found.alarms[kind] += bool(_caught(worker, suite, {(gold, query)}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="in Spider's layout")
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--rows", type=int, help="the first so many rows of dev.jsonl")
    parser.add_argument("--survivors", type=Path, help="where to list what was not caught")
    return parser.parse_args()


if __name__ == "__main__":
    main()
