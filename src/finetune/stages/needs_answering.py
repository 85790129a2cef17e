"""What writing answers holds at its peak: models under test, and the judge of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune.errors import FinetuneError
from finetune.memory.machine import Machine
from finetune.memory.reading import layers, writing
from finetune.models.load import context_length, read_config
from finetune.recipe.types import Base, Evaluate, Score, base_of
from finetune.stages import lengths as looked
from finetune.stages.lengths import Lengths
from finetune.stages.planned import (
    ASSUMED,
    UNKNOWN,
    Model,
    Need,
    counting,
    found,
    known,
    looked_at,
    number_format,
    opening,
    passed,
    rows_of,
    together,
    with_checkpoint,
)
from finetune.tasks import scored
from finetune.tasks.judged import Judged


@dataclass(frozen=True)
class Asked:
    """Prompts of these lengths, so many at once and of `room` tokens at most, for `new` tokens."""

    prompts: Lengths
    at_once: int
    room: int
    new: int


def answering(
    base: Base,
    configs: Sequence[Any],
    asked: Asked,
    machine: Machine,
    *,
    named: str = "",
    models: int = 1,
) -> Need:
    """What `models` models on one base, their adapters all on it, take to answer, one by one."""
    rows, size, new = asked.prompts, asked.at_once, asked.new
    dtype, prompt = number_format(base, machine), min(rows.longest[0], asked.room)
    parts = writing(base, configs, dtype, rows=size, prompt=prompt, new=new)
    many = (rows.rows or ASSUMED) * models
    steps = -(-many // size) * new
    return Need(
        parts=with_checkpoint(parts, base, dtype, machine),
        batch=f"{named}{rows_of(size, 'prompts')} of {prompt:,} tokens, {new:,} new ones",
        flops=2.0 * passed(base) * (min(rows.mean, asked.room) + new) * many,
        read=float(steps * parts["weights"]),
        layers_run=steps * layers(read_config(base)),
        assumed=not rows.rows,
        notes=looked_at(rows, base),
    )


def judging(score: Score, stage: Evaluate, models: int, machine: Machine) -> Need:
    """What a judge takes: one on this machine memory and time, one behind an endpoint requests.

    Replies that are kept from before are not asked for again.
    """
    judge, task = score.judge, scored.written(score)
    assert judge is not None
    assert isinstance(task, Judged)
    answers = 2 if task.rubric.is_pairwise else 1  # in a question; a pair is asked about twice
    base = known(Model(base_of(judge))).base
    rows = found(UNKNOWN, score.rows, lambda: looked.of_prompts(score, counting(base)))
    questions = (rows.rows or ASSUMED) * (2 * (models - 1) if answers == 2 else models)
    told = f"{score.name}: {questions:,} questions to the judge {judge.model}"
    if judge.endpoint:
        told += "'s endpoint, again where a reply has the wrong form; their time is not in it"
        return Need(parts={}, batch="", notes=(told,))
    try:
        context = context_length(read_config(base))
        room = max(16, context - judge.max_tokens) if context else UNKNOWN
        rubric = len(counting(base)(task.rubric.prompt or "")["input_ids"])
        new = stage.generation.get("max_new_tokens", task.max_new_tokens)
        asked = Asked(
            rows.longer(rubric + answers * new, questions),
            min(stage.batch_size, questions),
            room,
            judge.max_tokens,
        )
        need = answering(base, [], asked, machine, named=f"{score.name}, judge: ")
    except FinetuneError as error:
        return Need(parts={}, batch="", notes=(f"{told}, not planned: {error.what}",))
    return together([replace(need, assumed=not rows.rows), opening(base, machine)])
