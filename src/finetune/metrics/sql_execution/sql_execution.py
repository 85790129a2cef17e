"""Execution accuracy of SQL as an `evaluate` module: `evaluate.load(<this folder>)`."""

from pathlib import Path

import datasets
import evaluate

from finetune.metrics import mean
from finetune.metrics.sql_execution.sandbox import Limits
from finetune.metrics.sql_execution.scoring import score_rows

_INPUTS = """
Args:
    predictions: one SQL query per row; it is not trusted and can only read.
    references: the right query.
    databases: path of the SQLite file that both run on.
    seconds: time that one query may take (a net below a fixed limit of work).
Returns:
    execution_accuracy, exact_match, valid_sql, both_empty, over_limit, timeouts: in percent.
"""
_CITATION = "Zhong, Yu, Klein 2020. Semantic evaluation for text-to-SQL with distilled test suites."


class SqlExecution(evaluate.Metric):
    """Share of queries that return what the right query returns."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="Share of queries that return what the right query returns.",
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
        seconds: float = 5.0,
    ) -> dict[str, float]:
        files = [Path(each) for each in databases]
        return mean(score_rows(predictions, references, files, Limits(seconds=seconds)))
