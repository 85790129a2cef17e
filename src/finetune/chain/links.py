"""Which stage takes from which: the model it starts from and the models it scores."""

from __future__ import annotations

from finetune.recipe.types import Evaluate, Recipe, Stage

BASE = "base"


def makes_model(stage: Stage) -> bool:
    """Whether later stages can start from this one."""
    return not isinstance(stage, Evaluate)


def parent(recipe: Recipe, stage: Stage) -> Stage | None:
    """The stage whose model `stage` starts from; None for the base."""
    before = _models_before(recipe, stage)
    if stage.from_ is None:
        return before[-1] if before else None
    return next((each for each in before if each.name == stage.from_), None)


def scored(recipe: Recipe, stage: Evaluate) -> tuple[str, ...]:
    """Names of the models that `stage` scores, in order; by default all that have weights."""
    base = (BASE,) if recipe.base.model else ()
    return stage.models or (*base, *(each.name for each in _models_before(recipe, stage)))


def needed(recipe: Recipe, stage: Stage) -> tuple[Stage, ...]:
    """Stages whose results `stage` reads."""
    if isinstance(stage, Evaluate):
        names = scored(recipe, stage)
        return tuple(each for each in _models_before(recipe, stage) if each.name in names)
    before = parent(recipe, stage)
    return (before,) if before else ()


def _models_before(recipe: Recipe, stage: Stage) -> list[Stage]:
    index = next(i for i, each in enumerate(recipe.stages) if each.name == stage.name)
    return [each for each in recipe.stages[:index] if makes_model(each)]
