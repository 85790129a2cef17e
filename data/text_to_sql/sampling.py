"""Draws questions for the databases, keeps those with one clear answer, and splits them."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from random import Random

from text_to_sql import kinds_groups, kinds_joins, kinds_rows
from text_to_sql.drafts import Draft, Draw
from text_to_sql.phrase import question, read_phrasings
from text_to_sql.schema import Database
from text_to_sql.store import fill_tables

KINDS: dict[str, Callable[[Draw], Draft | None]] = {
    **kinds_rows.KINDS,
    **kinds_groups.KINDS,
    **kinds_joins.KINDS,
}
SHARES = {"easy": 0.4, "medium": 0.4, "hard": 0.2}
WORDINGS_PER_QUERY = 3
MOST_ROWS = 45  # a filter that keeps nearly everything asks nothing
WORDS = range(4, 22)


@dataclass(frozen=True)
class Sample:
    db_id: str
    question: str
    query: str
    hardness: str

    def row(self) -> dict[str, str]:
        return asdict(self)


def normal(text: str) -> str:
    """The text as compared between splits: case and spaces do not count."""
    return " ".join(text.lower().split())


def skeleton(query: str) -> str:
    """The query with its values, tables and columns masked; keywords are in upper case."""
    masked = re.sub(r"'[^']*'|\b\d+(\.\d+)?\b", "?", query)
    return re.sub(r"\b[a-z_]+(\.[a-z_]+)?\b", "_", masked)


class Sampler:
    """Draws the questions of one database; texts in `taken` are not drawn again."""

    def __init__(self, database: Database, seed: int, taken: set[str]) -> None:
        self.draw = Draw(database, Random(f"{seed}/{database.name}/questions"))
        self.taken = taken
        self.wordings: Counter[str] = Counter()
        self.phrasings = read_phrasings()
        self.connection = sqlite3.connect(":memory:")
        fill_tables(self.connection, database)

    def samples(self, count: int) -> list[Sample]:
        drawn = [
            sample
            for hardness, share in SHARES.items()
            for sample in self._of_hardness(hardness, round(count * share))
        ]
        self.connection.close()
        return drawn

    def _of_hardness(self, hardness: str, count: int) -> Iterable[Sample]:
        kinds = {
            name: parts for name, parts in self.phrasings.items() if parts["hardness"] == hardness
        }
        names, weights = list(kinds), [parts["weight"] for parts in kinds.values()]
        for _ in range(count):
            for _attempt in range(200):
                kind = self.draw.rng.choices(names, weights)[0]
                sample = self._one(kind, kinds[kind]["say"], hardness)
                if sample is not None:
                    yield sample
                    break

    def _one(self, kind: str, templates: list[str], hardness: str) -> Sample | None:
        draft = KINDS[kind](self.draw)
        if draft is None or self.wordings[normal(draft.query)] >= WORDINGS_PER_QUERY:
            return None
        text = question(templates, draft, self.draw.rng)
        if text is None or normal(text) in self.taken or len(text.split()) not in WORDS:
            return None
        if not self._clear(draft):
            return None
        self.taken.add(normal(text))
        self.wordings[normal(draft.query)] += 1
        return Sample(self.draw.database.name, text, draft.query, hardness)

    def _clear(self, draft: Draft) -> bool:
        """There is an answer, it does not hang on ties, and a filter leaves something out."""
        rows = self.connection.execute(draft.query).fetchall()
        if not rows or rows in ([(0,)], [(None,)]):
            return False
        if " WHERE " in draft.query and len(rows) > MOST_ROWS:
            return False
        return not draft.order_key or self._untied(draft)

    def _untied(self, draft: Draft) -> bool:
        limit = re.search(r" LIMIT (\d+)$", draft.query)
        query = re.sub(r"^SELECT .*? FROM", f"SELECT {draft.order_key} FROM", draft.query)
        keys = self.connection.execute(re.sub(r" LIMIT \d+$", "", query)).fetchall()
        checked = keys[: int(limit.group(1)) + 1] if limit else keys
        return len(set(checked)) == len(checked)


def draw_samples(databases: list[Database], count: int, seed: int, taken: set[str]) -> list[Sample]:
    """About `count` samples, evenly from the databases, with no question out of `taken`."""
    each = round(count / len(databases))
    return [
        sample for database in databases for sample in Sampler(database, seed, taken).samples(each)
    ]


def split(samples: list[Sample], test_count: int, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Train and test without a shared query; test holds one question of each of its queries."""
    rng = Random(f"{seed}/split")
    by_query: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_query[normal(sample.query)].append(sample)
    held_out: set[str] = set()
    for hardness, share in SHARES.items():
        shapes = {
            query: skeleton(same[0].query)
            for query, same in by_query.items()
            if same[0].hardness == hardness
        }
        held_out.update(_evenly(shapes, round(test_count * share), rng))
    train = [sample for sample in samples if normal(sample.query) not in held_out]
    test = [rng.choice(by_query[query]) for query in by_query if query in held_out]
    rng.shuffle(train)
    rng.shuffle(test)
    return train, test


def _evenly(shapes: dict[str, str], count: int, rng: Random) -> list[str]:
    """So many of the queries, each shape of query with its share."""
    ordered = sorted(shapes, key=lambda query: (shapes[query], rng.random()))
    return [ordered[int((index + 0.5) * len(ordered) / count)] for index in range(count)]
