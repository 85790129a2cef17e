"""Extractiveness as an `evaluate` module: `evaluate.load(<this folder>)`."""

import datasets
import evaluate

from finetune.metrics import mean
from finetune.metrics.extractiveness.fragments import score_rows

_INPUTS = """
Args:
    predictions: one summary per row.
    documents: the text that each one summarises.
Returns:
    coverage: share of words inside copied fragments, 0 to 1.
    density: mean squared length of copied fragments per word, in words.
    novel_unigrams, novel_bigrams, novel_trigrams, novel_4grams: share that the document has not,
        in percent.
    words: mean length in words.
"""
_CITATION = "Grusky, Naaman, Artzi 2018. Newsroom: a dataset of 1.3 million summaries."


class Extractiveness(evaluate.Metric):
    """How much of a summary is copied from its document."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="How much of a summary is copied from its document.",
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": text, "documents": text}),
        )

    def _compute(
        self,
        predictions: list[str],
        documents: list[str],
        **_: object,  # `evaluate.combine` hands all inputs to all
    ) -> dict[str, float]:
        return mean(score_rows(predictions, documents))
