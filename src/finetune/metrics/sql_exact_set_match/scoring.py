"""Exact set match of predicted queries: read, compare, count. Shares are in percent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from finetune.errors import DataError
from finetune.metrics.sql_exact_set_match.clauses import Clauses, Options, clauses
from finetune.metrics.sql_exact_set_match.hardness import Hardness, hardness
from finetune.metrics.sql_exact_set_match.names import Names, names_of
from finetune.metrics.sql_execution.describe import Description
from finetune.metrics.sql_execution.sandbox import Database, Limits
from finetune.metrics.sql_execution.text import normalized
from finetune.metrics.sql_execution.worker import Worker
from finetune.metrics.sql_parse import ParseError

_DEFAULT = Options()


def score_rows(
    predictions: Sequence[str],
    references: Sequence[str],
    descriptions: Sequence[Description],
    options: Options = _DEFAULT,
) -> list[float]:
    """100 where every clause of the predicted query says what the right one's says, else 0.

    Where the right query cannot be read, only the same text matches.
    """
    if not len(predictions) == len(references) == len(descriptions):
        counts = f"{len(predictions)}, {len(references)} and {len(descriptions)}"
        raise ValueError(f"predictions, references and databases differ in number: {counts}")
    return [
        100.0 * _equal(predicted, gold, _names(description), options)
        for predicted, gold, description in zip(predictions, references, descriptions, strict=True)
    ]


def hardnesses(
    references: Sequence[str], descriptions: Sequence[Description]
) -> list[Hardness | None]:
    """Spider's class of each right query, None where it cannot be read."""
    found = [
        _clauses(gold, _names(description), _DEFAULT)
        for gold, description in zip(references, descriptions, strict=True)
    ]
    return [hardness(each) if each else None for each in found]


def describe(databases: Sequence[Database], limits: Limits) -> list[Description]:
    """What each row's database is made of.

    Raises:
        DataError: one cannot be read.
    """
    known: dict[Database, Description] = {}
    with Worker() as worker:
        for number, database in enumerate(databases, start=1):
            if database not in known:
                found = worker.describe(database, limits)
                if isinstance(found, str):
                    raise DataError(
                        f"its database cannot be read: {found}",
                        where=f"row {number}",
                        remedy=f"Check that this is right for SQLite: {database}.",
                    )
                known[database] = found
    return [known[database] for database in databases]


def _equal(predicted: str, gold: str, names: Names, options: Options) -> bool:
    if normalized(predicted) == normalized(gold):
        return True
    right = _clauses(gold, names, options)
    return right is not None and _clauses(predicted, names, options) == right


def _clauses(query: str, names: Names, options: Options) -> Clauses | None:
    try:
        return clauses(query, names, options)
    except ParseError:
        return None


@lru_cache(maxsize=1024)
def _names(description: Description) -> Names:
    return names_of(description)
