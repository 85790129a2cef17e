"""Several models scored on the same rows: what an evaluation does, and a merge that has `tasks`.

First everything that needs a model goes to disk; scores follow from there (`finetune score`).
"""

from __future__ import annotations

from transformers import set_seed

from finetune.console import say, warn
from finetune.job import Job, Result
from finetune.models.generate import generation_config
from finetune.models.switch import by_base, opened
from finetune.models.tokenizers import load_tokenizer
from finetune.ranks import is_main
from finetune.recipe.types import Evaluate, Score
from finetune.scoring import files
from finetune.scoring.score import means, score
from finetune.stages.harness import Harness
from finetune.stages.judging import Judged
from finetune.stages.measuring import Likely, Measurer, Written
from finetune.stages.sources import announce, left_out
from finetune.tasks import scored
from finetune.tasks.judged import Judged as Task


def check_scores(stage: Evaluate, job: Job) -> None:
    """Read every task's rows and build the library's generation config."""
    for each in stage.tasks:
        measurer = _measurer(each, stage, job.seed)
        if isinstance(measurer, Judged):
            measurer.check()
        if measurer.examples is not None and measurer.data is not None:
            announce(measurer.examples, measurer.data, job)
    tokenizer, _ = load_tokenizer(job.model.base)
    generation_config(tokenizer, stage.generation)


def score_models(stage: Evaluate, job: Job) -> Result:
    """Measure each model on each task; models on one base share its copy in memory."""
    measurers = [_measurer(each, stage, job.seed) for each in stage.tasks]
    for measurer in measurers:
        if measurer.examples is not None:
            measurer.notes += left_out(measurer.examples, job, measurer.score.name)
    for base, refs in by_base(job.models):
        tokenizer, _ = load_tokenizer(base)
        for name, model in opened(base, refs):
            say(f"  {job.name}: {name}")
            for measurer in measurers:
                set_seed(job.seed)
                measurer.measure(name, model, tokenizer)
            del model  # else the last one would be in memory while the next base is opened
    if is_main():
        for measurer in measurers:
            measurer.write(job.out, list(job.models))
    notes = tuple(dict.fromkeys(note for measurer in measurers for note in measurer.notes))
    for note in notes:
        warn(f"{job.name}: {note}")
    if not is_main():
        return Result(warnings=notes)
    files.write_settings(job.out, stage, job.seed)
    facts = {name: fact for measurer in measurers for name, fact in measurer.facts.items()}
    return Result(scores=means(score(job.out)), facts=facts, warnings=notes)


def _measurer(score: Score, stage: Evaluate, seed: int) -> Measurer:
    if scored.is_foreign(score):
        return Harness(score, stage, seed)
    if score.task == Task.name:
        return Judged(score, stage, seed)
    return Written(score, stage) if scored.is_written(score) else Likely(score, stage)
