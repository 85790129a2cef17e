"""Execution accuracy of predicted queries: run, compare, count. Shares are in percent."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from finetune.errors import DataError
from finetune.metrics.sql_execution.compare import equal_results
from finetune.metrics.sql_execution.sandbox import Database, Limits, Outcome, opened, run
from finetune.metrics.sql_execution.text import is_ordered, normalized

_DEFAULT = Limits()


def score_rows(
    predictions: Sequence[str],
    references: Sequence[str],
    databases: Sequence[Database],
    limits: Limits = _DEFAULT,
) -> list[dict[str, float]]:
    """Scores of each predicted query against the right one, each 0 or 100.

    `execution_accuracy`: both return the same rows. `exact_match`: same text, case and spacing
    aside. `valid_sql`: it ran to its end. `both_empty`: counted as right, but neither returned a
    row, so nothing was compared. `over_limit`: stopped for work, memory or size, the same on any
    machine. `timeouts`: stopped by the clock, so a faster machine might say otherwise.

    Raises:
        DataError: the right query of a row fails, or its database cannot be opened.
    """
    if not len(predictions) == len(references) == len(databases):
        counts = f"{len(predictions)}, {len(references)} and {len(databases)}"
        raise ValueError(f"predictions, references and databases differ in number: {counts}")
    rows = zip(predictions, references, databases, strict=True)
    return [_score(number, *row, limits) for number, row in enumerate(rows, start=1)]


def check_rows(
    references: Sequence[str], databases: Sequence[Database], limits: Limits = _DEFAULT
) -> None:
    """Run every right query once, so that a bad row is found before a model has answered.

    Raises:
        DataError: as `score_rows`.
    """
    for number, (gold, database) in enumerate(zip(references, databases, strict=True), start=1):
        _both(number, "SELECT 1", gold, database, limits)


def _score(
    number: int, predicted: str, gold: str, database: Database, limits: Limits
) -> dict[str, float]:
    right, outcome = _both(number, predicted, gold, database, limits)
    ok = outcome.status == "ok"
    equal = ok and equal_results(right.rows, outcome.rows, ordered=is_ordered(gold))
    shares = {
        "execution_accuracy": equal,
        "exact_match": normalized(predicted) == normalized(gold),
        "valid_sql": ok,
        "both_empty": ok and not right.rows and not outcome.rows,
        "over_limit": outcome.status == "over_limit",
        "timeouts": outcome.status == "timeout",
    }
    return {name: 100.0 * share for name, share in shares.items()}


def _both(
    number: int, predicted: str, gold: str, database: Database, limits: Limits
) -> tuple[Outcome, Outcome]:
    place = "the schema text" if not hasattr(database, "name") else str(database)
    try:
        with opened(database) as connection:
            # A slow machine must not fail the whole evaluation: the right query gets more time.
            right = run(connection, gold, replace(limits, seconds=10 * limits.seconds))
            if right.status != "ok":
                raise DataError(
                    f"the right query fails: {right.message}: {gold}",
                    where=f"row {number}",
                    remedy=f"Mend or remove the row; it was run on {place}.",
                )
            return right, run(connection, predicted, limits)
    except (sqlite3.Error, sqlite3.Warning, MemoryError) as error:
        raise DataError(
            f"its database cannot be opened: {error}",
            where=f"row {number}",
            remedy=f"Check that this is a SQLite database: {place}.",
        ) from error
