"""What a stage of any kind needs, told before it runs."""

from __future__ import annotations

from dataclasses import replace

from finetune.errors import FinetuneError
from finetune.recipe.types import Dpo, Evaluate, Merge, Pretrain, Sft, Stage
from finetune.stages.needs_reading import of_evaluation, of_merge
from finetune.stages.needs_training import of_training
from finetune.stages.planned import Need, Stand, known


def need(stage: Stage, stand: Stand) -> Need | None:
    """What a stage needs; None for kinds that are not planned.

    Raises:
        FinetuneError: the base cannot be had, or runs only with its weights.
    """
    stand = replace(
        stand,
        model=known(stand.model),
        models=tuple(known(model) for model in stand.models),
    )
    if isinstance(stage, Evaluate):
        return of_evaluation(stage, stand)
    if isinstance(stage, Merge):
        return of_merge(stand)
    if isinstance(stage, Sft) and stage.esft is not None:
        raise FinetuneError("which experts train is known once the data has gone through them")
    if isinstance(stage, Pretrain | Sft | Dpo):
        return of_training(stage, stand)
    return None
