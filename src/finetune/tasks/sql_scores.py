"""All scores of predicted SQL: on the database itself, on filled copies, and clause by clause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from finetune.metrics.sql_exact_set_match import scoring as exact_set_match
from finetune.metrics.sql_exact_set_match.scoring import describe
from finetune.metrics.sql_execution import scoring as execution
from finetune.metrics.sql_execution.describe import Description
from finetune.metrics.sql_execution.sandbox import Database, Limits, Schema
from finetune.metrics.sql_execution.text import reference_form
from finetune.metrics.sql_test_suite import scoring as test_suite
from finetune.metrics.sql_test_suite.suite import Suite
from finetune.recipe.types import SqlSuite

_LIMITS = Limits()


@dataclass(frozen=True)
class Prepared:
    """What scoring needs of each row beside its right query; `databases` have rows in them."""

    descriptions: list[Description]
    suites: list[Suite]
    databases: list[Database]


def prepared(golds: Sequence[str], databases: Sequence[Database], settings: SqlSuite) -> Prepared:
    """Describe the databases and fill their copies, or read what an earlier call has filled.

    A schema without rows is replaced by the first of its copies on which the right query surely
    returns some.

    Raises:
        DataError: a database cannot be read.
    """
    found = describe(databases, _LIMITS)
    keep = settings.keep_distinct
    suites = test_suite.suites(golds, found, settings.copies, keep_distinct=keep)
    forms = [reference_form(gold, keep_distinct=keep) for gold in golds]
    filled = [_with_rows(*each) for each in zip(databases, suites, forms, strict=True)]
    return Prepared(found, suites, filled)


def check_rows(golds: Sequence[str], databases: Sequence[Database], settings: SqlSuite) -> None:
    """Run every right query and fill the copies, before a model has answered.

    Raises:
        DataError: a right query fails, or its database cannot be read.
    """
    execution.check_rows(golds, databases)
    prepared(golds, databases, settings)


def score_rows(
    predictions: Sequence[str],
    golds: Sequence[str],
    databases: Sequence[Database],
    settings: SqlSuite,
) -> list[dict[str, float]]:
    """Each row's scores, 0 or 100."""
    ready, keep = prepared(golds, databases, settings), settings.keep_distinct
    executed = execution.score_rows(predictions, golds, ready.databases, keep_distinct=keep)
    on_copies = test_suite.score_rows(predictions, golds, ready.suites, keep_distinct=keep)
    matched = exact_set_match.score_rows(predictions, golds, ready.descriptions)
    return [
        {
            **each,
            "test_suite_accuracy": min(each["execution_accuracy"], copies),
            "exact_set_match": match,
        }
        for each, copies, match in zip(executed, on_copies, matched, strict=True)
    ]


def hardnesses(golds: Sequence[str], databases: Sequence[Database]) -> list[str]:
    """Spider's class of each right query, "unread" where it cannot be told."""
    found = exact_set_match.hardnesses(golds, describe(databases, _LIMITS))
    return [each or "unread" for each in found]


def _with_rows(database: Database, suite: Suite, gold: str) -> Database:
    if not isinstance(database, Schema) or not suite:
        return database
    telling = (copy for copy in suite if gold in copy.groups and gold not in copy.empty)
    return next(telling, suite[0]).database
