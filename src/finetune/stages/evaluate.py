"""Scores of several models on the same rows: what the closing table is made of."""

from __future__ import annotations

from finetune.job import Job, Result
from finetune.models.fitting import check_model
from finetune.recipe.types import Evaluate
from finetune.stages.scores import check_scores, score_models


def check(stage: Evaluate, job: Job) -> None:
    """Look at the models and read every task's rows."""
    for model in job.models.values():
        check_model(model)
    check_scores(stage, job)


def run(stage: Evaluate, job: Job) -> Result:
    """Measure each model on each task; models on one base share its copy in memory."""
    return score_models(stage, job)
