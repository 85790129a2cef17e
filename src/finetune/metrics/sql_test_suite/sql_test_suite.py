"""Test-suite accuracy of SQL as an `evaluate` module: `evaluate.load(<this folder>)`."""

from pathlib import Path

import datasets
import evaluate

from finetune.metrics import mean
from finetune.metrics.sql_exact_set_match.scoring import describe
from finetune.metrics.sql_execution import scoring as execution
from finetune.metrics.sql_execution.sandbox import Limits
from finetune.metrics.sql_test_suite import scoring

_INPUTS = """
Args:
    predictions: one SQL query per row; it is not trusted and can only read.
    references: the right query.
    databases: path of the SQLite file that both run on, and that copies are made like.
    copies: how many filled copies a query must also be right on.
    keep_distinct: whether DISTINCT counts; the reference leaves it out of both queries.
Returns:
    test_suite_accuracy: in percent.
"""
_CITATION = "Zhong, Yu, Klein 2020. Semantic evaluation for text-to-SQL with distilled test suites."


class SqlTestSuite(evaluate.Metric):
    """Share of queries that return the right rows on a database and on filled copies of it."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="Share of queries that are right on a database and on its filled copies.",
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": text, "references": text, "databases": text}
            ),
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        databases: list[str],
        copies: int = 8,
        keep_distinct: bool = False,
    ) -> dict[str, float]:
        files = [Path(each) for each in databases]
        found = describe(files, Limits())
        suites = scoring.suites(references, found, copies, keep_distinct=keep_distinct)
        here = execution.score_rows(predictions, references, files, keep_distinct=keep_distinct)
        copied = scoring.score_rows(predictions, references, suites, keep_distinct=keep_distinct)
        return mean(
            [
                {"test_suite_accuracy": min(one["execution_accuracy"], other)}
                for one, other in zip(here, copied, strict=True)
            ]
        )
