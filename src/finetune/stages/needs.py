"""What a stage of any kind needs, told before it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from finetune.errors import FinetuneError
from finetune.models.tokenizers import is_here
from finetune.recipe.types import Base, Evaluate, Export, Merge
from finetune.stages.needs_leaving import of_export, of_merge
from finetune.stages.needs_reading import of_evaluation
from finetune.stages.needs_training import of_training
from finetune.stages.planned import Need, Stand, known


def need(stage: Any, stand: Stand) -> Need:
    """What a stage needs.

    Raises:
        FinetuneError: the base cannot be had, or what the stage does is known once it runs.
    """
    stand = replace(
        stand,
        model=known(stand.model),
        models=tuple(known(model) for model in stand.models),
    )
    for model in (stand.model, *stand.models):
        _check_here(model.base)
    if isinstance(stage, Evaluate):
        return of_evaluation(stage, stand)
    if isinstance(stage, Merge):
        return of_merge(stage, stand)
    if isinstance(stage, Export):
        return of_export(stage, stand)
    return of_training(stage, stand)


def _check_here(base: Base) -> None:
    if base.model is None or is_here(base):
        return
    raise FinetuneError(
        f"the shape of {base.model} is not known on this machine: "
        f"`hf download {base.model} config.json` brings it",
        where="base.model",
    )
