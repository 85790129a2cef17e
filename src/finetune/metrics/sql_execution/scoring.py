"""Execution accuracy of predicted queries: run, compare, count. Shares are in percent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from finetune.errors import DataError
from finetune.metrics.sql_execution.compare import equal_results
from finetune.metrics.sql_execution.sandbox import Database, Limits, Row, Schema
from finetune.metrics.sql_execution.text import is_ordered, normalized, reference_form
from finetune.metrics.sql_execution.worker import Worker

_DEFAULT = Limits()


def score_rows(
    predictions: Sequence[str],
    references: Sequence[str],
    databases: Sequence[Database],
    limits: Limits = _DEFAULT,
    *,
    keep_distinct: bool = False,
) -> list[dict[str, float]]:
    """Scores of each predicted query against the right one, each 0 or 100.

    `execution_accuracy`: both return the same rows. `exact_match`: same text, case and spacing
    aside. `valid_sql`: it ran to its end. `both_empty`: counted as right, but neither returned a
    row, so nothing was compared. `gold_empty`: the right query returned none. `over_limit`:
    stopped for work, memory or size, the same on any machine. `timeouts`: stopped by the clock,
    so a faster machine might say otherwise. As in the reference, DISTINCT is left out of both
    queries unless `keep_distinct`.

    Raises:
        DataError: the right query of a row fails, or its database cannot be opened.
    """
    if not len(predictions) == len(references) == len(databases):
        counts = f"{len(predictions)}, {len(references)} and {len(databases)}"
        raise ValueError(f"predictions, references and databases differ in number: {counts}")
    with Worker() as worker:
        return [
            _score(worker, limits, number, row, keep_distinct)
            for number, row in enumerate(
                zip(predictions, references, databases, strict=True), start=1
            )
        ]


def check_rows(
    references: Sequence[str], databases: Sequence[Database], limits: Limits = _DEFAULT
) -> None:
    """Run every right query once, so that a bad row is found before a model has answered.

    Raises:
        DataError: as `score_rows`.
    """
    with Worker() as worker:
        rows = zip(references, databases, strict=True)
        for number, (gold, database) in enumerate(rows, start=1):
            _right(worker, number, gold, database, limits)


def _score(
    worker: Worker,
    limits: Limits,
    number: int,
    row: tuple[str, str, Database],
    keep_distinct: bool,
) -> dict[str, float]:
    predicted, gold, database = row
    asked, wanted = (
        reference_form(each, keep_distinct=keep_distinct) for each in (predicted, gold)
    )
    right = _right(worker, number, wanted, database, limits)
    outcome = worker.run(database, asked, limits)
    ok = outcome.status == "ok"
    equal = ok and equal_results(right, outcome.rows, ordered=is_ordered(gold))
    shares = {
        "execution_accuracy": equal,
        "exact_match": normalized(predicted) == normalized(gold),
        "valid_sql": ok,
        "both_empty": ok and not right and not outcome.rows,
        "gold_empty": not right,
        "over_limit": outcome.status == "over_limit",
        "timeouts": outcome.status == "timeout",
    }
    return {name: 100.0 * share for name, share in shares.items()}


def _right(
    worker: Worker, number: int, gold: str, database: Database, limits: Limits
) -> tuple[Row, ...]:
    """The rows of the right query."""
    # A slow machine must not fail the whole evaluation: the right query gets more time.
    outcome = worker.run(database, gold, replace(limits, seconds=10 * limits.seconds))
    if outcome.status == "ok":
        return outcome.rows
    place = "the schema text" if isinstance(database, Schema) else str(database)
    if outcome.status == "no_database":
        raise DataError(
            f"its database cannot be opened: {outcome.message}",
            where=f"row {number}",
            remedy=f"Check that this exists and is right for SQLite: {place}.",
        )
    raise DataError(
        f"the right query fails: {outcome.message}: {gold}",
        where=f"row {number}",
        remedy=f"Mend or remove the row; it was run on {place}.",
    )
