"""Test-suite accuracy: the right rows on every filled copy. Shares are in percent."""

from __future__ import annotations

from collections.abc import Sequence

from finetune.metrics.sql_execution.describe import Description
from finetune.metrics.sql_execution.sandbox import Limits
from finetune.metrics.sql_execution.text import reference_form
from finetune.metrics.sql_execution.worker import Worker
from finetune.metrics.sql_test_suite.suite import Copy, Suite, cached
from finetune.metrics.sql_test_suite.ties import equal_in_groups

_DEFAULT = Limits()
# Copies are small: what a right query needs there is far less, and a wrong one ends sooner.
COPY_LIMITS = Limits(steps=5_000_000, seconds=2.0)


def suites(
    references: Sequence[str],
    descriptions: Sequence[Description],
    copies: int,
    *,
    keep_distinct: bool = False,
) -> list[Suite]:
    """The filled copies for each row; rows on one database share theirs."""
    golds: dict[int, list[str]] = {}
    by_identity = {id(description): description for description in descriptions}
    for gold, description in zip(references, descriptions, strict=True):
        golds.setdefault(id(description), []).append(
            reference_form(gold, keep_distinct=keep_distinct)
        )
    with Worker() as worker:
        made = {
            key: cached(worker, by_identity[key], queries, copies, COPY_LIMITS)
            for key, queries in golds.items()
        }
    return [made[id(description)] for description in descriptions]


def score_rows(
    predictions: Sequence[str],
    references: Sequence[str],
    found: Sequence[Suite],
    *,
    keep_distinct: bool = False,
) -> list[float]:
    """100 where the predicted query returns the right rows on every copy that can tell, else 0."""
    pairs = [
        (
            reference_form(predicted, keep_distinct=keep_distinct),
            reference_form(gold, keep_distinct=keep_distinct),
        )
        for predicted, gold in zip(predictions, references, strict=True)
    ]
    right = [True] * len(pairs)
    rows: dict[int, list[int]] = {}
    for row, suite in enumerate(found):
        rows.setdefault(id(suite), []).append(row)
    with Worker() as worker:
        for group in rows.values():
            for copy in found[group[0]]:
                for row in group:
                    right[row] = right[row] and _same(worker, copy, *pairs[row])
    return [100.0 * each for each in right]


def _same(worker: Worker, copy: Copy, predicted: str, gold: str) -> bool:
    """Whether both return the same rows on this copy, as far as it can tell."""
    ends = copy.groups.get(gold)
    if predicted == gold or ends is None:
        return True
    wanted = worker.run(copy.database, gold, COPY_LIMITS)
    outcome = worker.run(copy.database, predicted, COPY_LIMITS)
    if wanted.status != "ok":
        return True
    return outcome.status == "ok" and equal_in_groups(wanted.rows, outcome.rows, ends)
