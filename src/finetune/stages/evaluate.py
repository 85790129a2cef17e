"""Scores of several models on the same rows: what the closing table is made of."""

from __future__ import annotations

from finetune.console import say, warn
from finetune.job import Job, Result
from finetune.models.generate import generation_config
from finetune.models.switch import by_base, opened
from finetune.models.tokenizers import load_tokenizer
from finetune.recipe.types import Evaluate
from finetune.stages.scores import HeldOutLoss, Preference, Scorer, Written


def check(stage: Evaluate, job: Job) -> None:
    """Read every task's rows and build the library's generation config."""
    _scorers(stage, job)
    tokenizer, _ = load_tokenizer(job.model.base)
    generation_config(tokenizer, stage.generation)


def run(stage: Evaluate, job: Job) -> Result:
    """Measure each model on each task; models on one base share its copy in memory."""
    scorers = _scorers(stage, job)
    for base, refs in by_base(job.models):
        tokenizer, _ = load_tokenizer(base)
        for name, model in opened(base, refs):
            say(f"  {job.name}: {name}")
            for scorer in scorers:
                scorer.measure(name, model, tokenizer)
    scores: dict[str, dict[str, float]] = {name: {} for name in job.models}
    for score, scorer in zip(stage.tasks, scorers, strict=True):
        for model, numbers in scorer.numbers().items():
            title = score.name or score.task
            scores[model] |= {f"{title} {metric}": value for metric, value in numbers.items()}
    notes = tuple(dict.fromkeys(note for scorer in scorers for note in scorer.notes))
    for note in notes:
        warn(f"{job.name}: {note}")
    return Result(scores=scores, warnings=notes)


def _scorers(stage: Evaluate, job: Job) -> list[Scorer]:
    made: list[Scorer] = []
    for score in stage.tasks:
        if score.task == "loss":
            made.append(HeldOutLoss(score, stage))
        elif score.task == "preference":
            made.append(Preference(score, stage))
        else:
            made.append(Written(score, stage, job.out))
    return made
