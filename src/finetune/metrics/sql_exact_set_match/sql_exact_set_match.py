"""Exact set match of SQL as an `evaluate` module: `evaluate.load(<this folder>)`."""

from pathlib import Path

import datasets
import evaluate

from finetune.metrics.sql_exact_set_match.clauses import Options
from finetune.metrics.sql_exact_set_match.hardness import HARDNESSES
from finetune.metrics.sql_exact_set_match.scoring import describe, hardnesses, score_rows
from finetune.metrics.sql_execution.sandbox import Limits

_INPUTS = """
Args:
    predictions: one SQL query per row.
    references: the right query.
    databases: path of the SQLite file whose tables they speak of; nothing is run on it.
    values: whether constants count too, as Spider's leader board does not.
    distinct: whether DISTINCT counts too.
Returns:
    exact_set_match: in percent, and for each class of Spider's hardness that occurs
    exact_set_match_easy, _medium, _hard, _extra with rows_easy, …
"""
_CITATION = "Yu et al. 2018. Spider: a large-scale human-labeled dataset for text-to-SQL."


class SqlExactSetMatch(evaluate.Metric):
    """Share of queries whose clauses all say what those of the right query say."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="Share of queries whose clauses all say what the right query's say.",
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
        values: bool = False,
        distinct: bool = False,
    ) -> dict[str, float]:
        described = describe([Path(each) for each in databases], Limits())
        scores = score_rows(predictions, references, described, Options(values, distinct))
        result = {"exact_set_match": sum(scores) / len(scores)} if scores else {}
        classes = hardnesses(references, described)
        for hardness in HARDNESSES:
            found = [s for s, each in zip(scores, classes, strict=True) if each == hardness]
            if found:
                result[f"exact_set_match_{hardness}"] = sum(found) / len(found)
                result[f"rows_{hardness}"] = len(found)
        return result
