"""What evaluating holds at its peak: models that are read, and nothing learnt."""

from __future__ import annotations

from finetune.errors import FinetuneError
from finetune.memory.machine import Machine
from finetune.memory.reading import layers, scoring
from finetune.models.load import context_length, read_config
from finetune.recipe.types import Base, Evaluate, Score
from finetune.stages import lengths as looked
from finetune.stages.lengths import Lengths
from finetune.stages.needs_answering import Asked, answering, judging
from finetune.stages.planned import (
    ASSUMED,
    UNKNOWN,
    Model,
    Need,
    Stand,
    counting,
    found,
    looked_at,
    number_format,
    opening,
    passed,
    rows_of,
    together,
    with_checkpoint,
)
from finetune.tasks import scored
from finetune.tasks.perplexity import Perplexity


def of_evaluation(stage: Evaluate, stand: Stand) -> Need:
    """The largest of what its tasks take on its bases, one after another, and of its judges.

    Raises:
        FinetuneError: none of its tasks can be planned.
    """
    bases = {str(model.base): model.base for model in stand.models}
    own = [score for score in stage.tasks if not scored.is_foreign(score)]
    if not own:
        raise FinetuneError("the rows of lm-evaluation-harness are known once it runs")
    needs = [
        _scored(score, stage, _on(base, stand, name), stand.machine)
        for name, base in bases.items()
        for score in own
    ]
    judged = [judging(each, stage, len(stand.models), stand.machine) for each in own if each.judge]
    opened = [opening(base, stand.machine) for base in bases.values()]
    foreign = len(stage.tasks) - len(own)
    notes = ("tasks of lm-evaluation-harness are not in it",) if foreign else ()
    return together([*needs, *judged, *opened], notes)


def _on(base: Base, stand: Stand, name: str) -> list[Model]:
    return [model for model in stand.models if str(model.base) == name]


def _scored(score: Score, stage: Evaluate, models: list[Model], machine: Machine) -> Need:
    """One task on the models of one base: their adapters lie on it together."""
    base = models[0].base
    configs = [config for model in models for config in model.configs()]
    context = context_length(read_config(base))
    named = f"{score.name}: " if len(stage.tasks) > 1 else ""
    if scored.is_written(score):
        new = stage.generation.get("max_new_tokens", scored.written(score).max_new_tokens)
        room = max(16, context - new) if context else UNKNOWN
        rows = found(
            min(room, UNKNOWN), score.rows, lambda: looked.of_prompts(score, counting(base))
        )
        asked = Asked(rows, min(stage.batch_size, rows.rows or stage.batch_size), room, new)
        return answering(base, configs, asked, machine, named=named, models=len(models))
    window = score.max_length or min(context or 2048, 2048)
    whole = score.task == Perplexity.name  # every window is full
    rows = looked.at_most(window, score.rows or 0) if whole else _answers(score, base, window)
    size = min(stage.batch_size, rows.rows or stage.batch_size)
    length, many = min(rows.longest[0], window), (rows.rows or ASSUMED) * len(models)
    dtype = number_format(base, machine)
    parts = scoring(base, configs, dtype, rows=size, length=length)
    return Need(
        parts=with_checkpoint(parts, base, dtype, machine),
        batch=f"{named}{rows_of(size, 'texts')} of {length:,} tokens",
        flops=2.0 * passed(base) * rows.mean * many,
        layers_run=layers(read_config(base)) * many / size,
        assumed=not rows.rows,
        notes=looked_at(rows, base),
    )


def _answers(score: Score, base: Base, window: int) -> Lengths:
    return found(window, score.rows, lambda: looked.of_answers(score, counting(base), window))
