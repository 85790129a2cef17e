"""Lengths as an `evaluate` module: `evaluate.load(<this folder>)`."""

import datasets
import evaluate

from finetune.metrics import mean
from finetune.metrics.lengths.counting import score_rows

_INPUTS = """
Args:
    predictions: one text per row.
    stopped: whether each ended with a stop token, rather than at the limit of new tokens.
Returns:
    length: mean length in words.
    empty: share of empty predictions, in percent.
    stopped: share that ended with a stop token, in percent.
"""
_CITATION = "finetune: lengths of answers."


class Lengths(evaluate.Metric):
    """How long answers are, and whether they came to an end."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Length in words, empty answers, and answers that came to an end.",
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "stopped": datasets.Value("bool")}
            ),
        )

    def _compute(
        self,
        predictions: list[str],
        stopped: list[bool],
        **_: object,  # `evaluate.combine` hands all inputs to all
    ) -> dict[str, float]:
        return mean(score_rows(predictions, stopped))
