"""Which stage takes from which: the model it starts from and the models it scores."""

from __future__ import annotations

from finetune.recipe.tuning import NEW, Tuned
from finetune.recipe.types import Candidate, Evaluate, Export, Merge, Recipe, Stage

BASE = "base"


def makes_model(stage: Stage) -> bool:
    """Whether later stages can start from this one."""
    return not isinstance(stage, Evaluate | Export)


def parent(recipe: Recipe, stage: Stage) -> Stage | None:
    """The stage whose model `stage` starts from; None for the base."""
    before = _models_before(recipe, stage)
    if isinstance(stage, Merge) and stage.combine:
        return next(each for each in before if each.name == stage.combine.adapters[0])
    if stage.from_ is None:
        return before[-1] if before else None
    return next((each for each in before if each.name == stage.from_), None)


def scored_models(recipe: Recipe, stage: Evaluate) -> tuple[Candidate, ...]:
    """The models that `stage` scores, in order; by default all that have weights."""
    base = (BASE,) if recipe.base.model else ()
    names = (*base, *(each.name for each in _models_before(recipe, stage)))
    return stage.models or tuple(Candidate(name=name) for name in names)


def combined(recipe: Recipe, stage: Merge) -> tuple[Stage, ...]:
    """The stages whose adapters `stage` makes one of, in its own order; none where it takes one."""
    names = stage.combine.adapters if stage.combine else ()
    by_name = {each.name: each for each in _models_before(recipe, stage)}
    return tuple(by_name[name] for name in names)


def needed(recipe: Recipe, stage: Stage) -> tuple[Stage, ...]:
    """Stages whose results `stage` reads."""
    if isinstance(stage, Evaluate):
        names = {each.name for each in scored_models(recipe, stage) if each.model is None}
        return tuple(each for each in _models_before(recipe, stage) if each.name in names)
    if isinstance(stage, Merge) and stage.combine:
        return combined(recipe, stage)
    before = parent(recipe, stage)
    if isinstance(stage, Export):
        return (*((before,) if before else ()), *evaluations(recipe, stage))
    return (before,) if before else ()


def lineage(recipe: Recipe, stage: Stage) -> tuple[Stage, ...]:
    """The stages that led to the model `stage` starts from, in the order they ran."""
    found: set[str] = set()
    open_ = [stage]
    while open_:
        each = open_.pop()
        combines = isinstance(each, Merge) and each.combine is not None
        before = needed(recipe, each) if combines else (parent(recipe, each),)
        open_ += [other for other in before if other and other.name not in found]
        found |= {other.name for other in before if other}
    return tuple(each for each in recipe.stages if each.name in found)


def evaluations(recipe: Recipe, stage: Stage) -> tuple[Evaluate, ...]:
    """The stages before `stage` that score a model on the way to its own."""
    names = {each.name for each in lineage(recipe, stage)}
    index = next(i for i, each in enumerate(recipe.stages) if each.name == stage.name)
    return tuple(
        each
        for each in recipe.stages[:index]
        if isinstance(each, Evaluate)
        and names & {model.name for model in scored_models(recipe, each)}
    )


def _models_before(recipe: Recipe, stage: Stage) -> list[Stage]:
    index = next(i for i, each in enumerate(recipe.stages) if each.name == stage.name)
    return [each for each in recipe.stages[:index] if makes_model(each)]


def adapters(recipe: Recipe, stage: Stage) -> tuple[Tuned, ...]:
    """The stages that shape the adapters of the model `stage` leaves, lowest first."""
    before = parent(recipe, stage)
    below = adapters(recipe, before) if before else ()
    if not isinstance(stage, Tuned):
        return () if isinstance(stage, Merge) else below
    if not stage.adds_adapter(bool(below)):
        return below
    shape = below[-1] if isinstance(stage.lora, str) else stage
    return (*below, shape) if stage.handover(bool(below)) == NEW else (shape,)


def is_merged(recipe: Recipe, stage: Stage) -> bool:
    """Whether a merge stands between the base and the model that `stage` starts from."""
    return any(isinstance(each, Merge) for each in lineage(recipe, stage))
