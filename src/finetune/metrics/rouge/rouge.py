"""ROUGE as an `evaluate` module: `evaluate.load(<this folder>)`."""

import datasets
import evaluate

from finetune.metrics import mean
from finetune.metrics.rouge.scoring import score_rows

_INPUTS = """
Args:
    predictions: one text per row.
    references: one text per row, or a list of texts of which the best counts.
Returns:
    rouge1, rouge2, rougeL, rougeLsum: mean F1 in percent, 0 to 100, with Porter stemming.
"""
_CITATION = "Lin 2004. ROUGE: a package for automatic evaluation of summaries."


class Rouge(evaluate.Metric):
    """The `rouge_score` package's scores, in percent."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        several = {"predictions": text, "references": datasets.Sequence(text)}
        return evaluate.MetricInfo(
            description="Overlap of a summary with reference summaries.",
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
