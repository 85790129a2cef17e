"""Exact match as an `evaluate` module: `evaluate.load(<this folder>)`."""

import datasets
import evaluate

from finetune.metrics import mean
from finetune.metrics.exact_match.matching import score_rows

_INPUTS = """
Args:
    predictions: one text per row.
    references: one text per row, or a list of texts of which any counts.
Returns:
    exact_match: share of predictions that equal a reference up to white space, in percent.
"""
_CITATION = "Rajpurkar et al. 2016. SQuAD, section 6.1; here case and punctuation count."


class ExactMatch(evaluate.Metric):
    """Whether an answer is one of the right ones."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        several = {"predictions": text, "references": datasets.Sequence(text)}
        return evaluate.MetricInfo(
            description="Share of predictions that equal a reference.",
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=[
                datasets.Features(several),
                datasets.Features({"predictions": text, "references": text}),
            ],
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str] | list[list[str]],
        **_: object,  # `evaluate.combine` hands all inputs to all
    ) -> dict[str, float]:
        lists = [[each] if isinstance(each, str) else each for each in references]
        return mean(score_rows(predictions, lists))
