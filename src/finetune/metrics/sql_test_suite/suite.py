"""Several filled copies of a database, on which wrong queries show.

After Zhong, Yu and Klein 2020 (semantic evaluation with distilled test suites). Theirs are picked
from thousands of random databases by how many neighbours of the right queries they tell apart;
ours are made from the right queries, so that a few suffice, and see no wrong query beforehand.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from finetune.metrics.sql_exact_set_match.names import names_of
from finetune.metrics.sql_execution.describe import Description
from finetune.metrics.sql_execution.sandbox import Limits, Schema
from finetune.metrics.sql_execution.worker import Worker
from finetune.metrics.sql_test_suite.fill import FLAVOURS, fill
from finetune.metrics.sql_test_suite.patterns import Pattern, patterns
from finetune.metrics.sql_test_suite.ties import Groups, groups

_VERSION = 1  # raised when the same arguments would give other copies
_ATTEMPTS = 3  # fillings of which a copy is the best
_ENOUGH = 0.95  # share of right queries that return rows: no further filling is tried


@dataclass(frozen=True)
class Copy:
    """A filled database; what it says of each right query, and which return no rows here.

    `groups` are those of `ties.groups`; a right query without cannot be told from others here.
    """

    database: Schema
    groups: Mapping[str, Groups]
    empty: frozenset[str]


Suite = tuple[Copy, ...]


def build(
    worker: Worker, description: Description, golds: Sequence[str], copies: int, limits: Limits
) -> Suite:
    """The copies of one database for these right queries; always the same for the same."""
    names = names_of(description)
    found = dict.fromkeys(pattern for gold in golds for pattern in patterns(gold, names))
    return tuple(
        _best(_fillings(description, list(found), number), worker, golds, limits)
        for number in range(copies)
    )


def cached(
    worker: Worker, description: Description, golds: Sequence[str], copies: int, limits: Limits
) -> Suite:
    """As `build`, kept in the user's cache folder (`XDG_CACHE_HOME`) for the next time."""
    content = repr((_VERSION, description, sorted(set(golds)), copies))
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    file = _folder() / f"{digest[:32]}.json.gz"
    with suppress(OSError, ValueError, KeyError, TypeError, EOFError):
        return _read(file)
    suite = build(worker, description, sorted(set(golds)), copies, limits)
    with suppress(OSError):  # a cache that cannot be written costs time, nothing else
        _write(file, suite)
    return suite


def _fillings(description: Description, found: list[Pattern], number: int) -> Iterator[Schema]:
    """Candidates for one of the copies."""
    for attempt in range(_ATTEMPTS):
        flavour = FLAVOURS[number % len(FLAVOURS)]
        yield Schema(fill(description, found, flavour, f"copy {number}, attempt {attempt}"))


def _best(
    candidates: Iterable[Schema], worker: Worker, golds: Sequence[str], limits: Limits
) -> Copy:
    """The one on which most right queries return rows that are certain."""
    best: tuple[int, Copy] | None = None
    for database in candidates:
        copy = _judged(worker, database, golds, limits)
        useful = sum(gold in copy.groups and gold not in copy.empty for gold in golds)
        if best is None or useful > best[0]:
            best = useful, copy
        if useful >= _ENOUGH * len(golds):
            break
    assert best is not None
    return best[1]


def _judged(worker: Worker, database: Schema, golds: Sequence[str], limits: Limits) -> Copy:
    found: dict[str, Groups] = {}
    empty: set[str] = set()
    for gold in golds:
        outcome = worker.run(database, gold, limits)
        if outcome.status == "ok":
            ends = groups(worker, database, gold, outcome.rows, limits)
            if ends is not None:
                found[gold] = ends
        if not any(cell is not None for row in outcome.rows for cell in row):
            empty.add(gold)
    return Copy(database, found, frozenset(empty))


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "finetune" / "sql_test_suite"


def _read(file: Path) -> Suite:
    with gzip.open(file, "rt", encoding="utf-8", errors="surrogatepass") as stream:
        return tuple(
            Copy(
                Schema(each["sql"]),
                {gold: tuple(ends) for gold, ends in each["groups"].items()},
                frozenset(each["empty"]),
            )
            for each in json.load(stream)
        )


def _write(file: Path, suite: Suite) -> None:
    """In one step, since other processes may read it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(
        [
            {"sql": copy.database.sql, "groups": copy.groups, "empty": sorted(copy.empty)}
            for copy in suite
        ]
    )
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as stream:
        stream.write(gzip.compress(content.encode(), mtime=0))
    Path(stream.name).replace(file)
