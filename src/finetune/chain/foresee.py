"""Forecasts made: what stages need, on the models that stages before them will have left.

Torch is imported here, so this is called in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from finetune.chain import links, provenance
from finetune.chain.forecast import Forecast, Place
from finetune.chain.inputs import adapter_path
from finetune.chain.inside import import_stages
from finetune.chain.plan import Plan, Step
from finetune.chain.record import Record
from finetune.errors import FinetuneError
from finetune.memory.machine import Half, libraries
from finetune.recipe.types import Base, Evaluate, Recipe, Stage
from finetune.sizes import size_text

ERROR = 0.1  # of a forecast: see docs/results/memory.md
BEFORE = "the run before"
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}


def forecasts(plan: Plan, place: Place, savings: bool) -> list[Forecast]:
    """Of every stage to run; imports torch, and asks no network.

    What would save memory is told of stages that do not fit, and with `savings` of all.
    """
    with _offline():
        import_stages([step.stage.kind for step in plan.steps])
        libraries(place.machine.on_cpu)  # looked up before anything else is in memory
        return [
            _forecast(plan.recipe, step, place, _before(plan, step, place), savings)
            for step in plan.steps
            if step.status != "keep"
        ]


@contextmanager
def _offline() -> Iterator[None]:
    """Within it the hub is not asked; the environment is read once, before a process forks."""
    import datasets
    from huggingface_hub import constants

    switches = ((constants, "HF_HUB_OFFLINE"), (datasets.config, "HF_HUB_OFFLINE"))
    before = [getattr(module, name) for module, name in switches]
    try:
        for module, name in switches:
            setattr(module, name, True)
        yield
    finally:
        for (module, name), was in zip(switches, before, strict=True):
            setattr(module, name, was)


def _before(plan: Plan, step: Step, place: Place) -> Record | None:
    """The stage's record from before, if it was made on such a device."""
    record = step.record or plan.store.newest(step.stage.name)
    here = provenance.device() if place.machine.on_cpu else place.machine.name
    return record if record and record.made.get("device") == here else None


def shortage(plan: Plan, place: Place) -> tuple[list[FinetuneError], list[str]]:
    """Stages to run that need more memory than there is: what to refuse, and what to warn of.

    A forecast may err by a tenth, so what exceeds the memory by less is only told.
    """
    refused, warned = [], []
    for step in plan.steps:
        each = None if step.status == "keep" else _forecast(plan.recipe, step, place, None, False)
        if each is None or each.total <= place.machine.memory:
            continue
        most = f"{size_text(each.total)} ({each.batch})"
        what = f"it will need about {most}, and there are {size_text(place.machine.memory)}"
        if each.total <= (1 + ERROR) * place.machine.memory:
            warned.append(f"{each.stage}: {what}")
            continue
        turned = sorted(each.savings.items(), key=lambda saving: -saving[1])
        told = "; ".join(f"{name} saves {size_text(saved)}" for name, saved in turned[:4])
        remedy = f"What would save memory: {told}." if told else ""
        refused.append(FinetuneError(what, where=each.stage, remedy=remedy))
    return refused, warned


def _forecast(
    recipe: Recipe, step: Step, place: Place, before: Record | None, more: bool
) -> Forecast:
    from finetune.stages import planned

    stage = step.stage
    try:
        found = _need(recipe, stage, place)
        asked = more or sum(found.parts.values()) > place.machine.memory
        turned = dict(savings(recipe, stage, place, found)) if asked else {}
    except Exception as error:  # whatever it is, a run may do without a forecast
        line = (str(error).splitlines() or [type(error).__name__])[0]
        return Forecast(stage=stage.name, why=f"cannot be planned: {line}")
    seconds, told_by = planned.seconds(found, place.machine, place.processes)
    if before and before.made.get("seconds"):
        seconds, told_by = float(before.made["seconds"]), BEFORE
    return Forecast(
        stage=stage.name,
        parts=found.parts,
        batch=found.batch,
        seconds=seconds,
        told_by=told_by,
        assumed=found.assumed and told_by != BEFORE,
        savings=turned,
        notes=found.notes,
    )


def _need(recipe: Recipe, stage: Stage, place: Place, way: tuple[int, bool] | None = None) -> Any:
    """What `finetune.stages.needs` says of the stage, with what every process has on top."""
    from finetune.memory.shared import Share
    from finetune.stages import needs, planned

    stand = planned.Stand(
        model=_model(recipe, stage),
        models=tuple(_scored(recipe, stage)) if isinstance(stage, Evaluate) else (),
        machine=place.machine,
        way=way,
        share=Share(sharing=place.sharing, processes=place.processes, on_cpu=place.machine.on_cpu),
    )
    found = needs.need(stage, stand)
    return replace(found, parts={**found.parts, "libraries": libraries(place.machine.on_cpu)})


def _model(recipe: Recipe, stage: Stage) -> Any:
    """What the stage opens: of a stage that trains, with its own adapter on it."""
    from finetune.stages.planned import Model

    shapes = links.adapters(recipe, stage)
    if not shapes and (before := links.parent(recipe, stage)):
        shapes = links.adapters(recipe, before)  # a merge opens what the stage before it left
    return Model(_base(recipe, stage), shapes)


def _base(recipe: Recipe, stage: Stage) -> Base:
    merged = links.is_merged(recipe, stage)
    return replace(recipe.base, quantization=None) if merged else recipe.base


def _scored(recipe: Recipe, stage: Evaluate) -> Iterator[Any]:
    from finetune.stages.planned import Model

    stages = {each.name: each for each in recipe.stages}
    for model in links.scored_models(recipe, stage):
        if model.model:
            yield Model(recipe.base if adapter_path(model) else model.base())
        elif model.name == links.BASE:
            yield Model(recipe.base)
        else:
            made = stages[model.name]
            whole = made.kind == "merge" or links.is_merged(recipe, made)
            base = replace(recipe.base, quantization=None) if whole else recipe.base
            yield Model(base, links.adapters(recipe, made))


def savings(recipe: Recipe, stage: Stage, place: Place, found: Any) -> Iterator[tuple[str, int]]:
    """Bytes that each setting would save, by planning again with it: as many rows at once."""
    now = sum(found.parts.values())
    for told, (other, turned) in _turned(recipe, stage, place.machine.half):
        try:
            then = _need(other, turned, place, found.way)
        except Exception:  # a setting that does not go with the others
            continue
        saved = now - sum(then.parts.values())
        if saved > 0.02 * now:
            yield told, saved


def _turned(recipe: Recipe, stage: Any, half: Half) -> Iterator[tuple[str, tuple[Recipe, Stage]]]:
    base = recipe.base
    if not hasattr(stage, "train") or links.adapters(recipe, stage):  # its weights do not train
        yield f"base.dtype: {half}", (replace(recipe, base=replace(base, dtype=half)), stage)
    if base.quantization is None and links.adapters(recipe, stage):
        other = replace(recipe, base=replace(base, quantization=NF4))
        yield "base.quantization: {load_in_4bit: true, …}", (other, stage)
    settings = getattr(stage, "train", None)
    if settings is not None:
        for told, change in (
            ("gradient_checkpointing: true", {"gradient_checkpointing": True}),
            ("optim: adamw_8bit", {"optim": "adamw_8bit"}),
            _half_length(settings),
        ):
            if all(settings.get(key) != value for key, value in change.items()):
                turned = replace(stage, train={**settings, **change})
                yield f"{stage.name}.train.{told}", (_with(recipe, turned), turned)
    if (size := getattr(stage, "batch_size", 1)) > 1:
        turned = replace(stage, batch_size=size // 2)
        yield f"{stage.name}.batch_size: {size // 2}", (_with(recipe, turned), turned)


def _half_length(settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    half = (settings.get("max_length") or 1024) // 2
    return f"max_length: {half}", {"max_length": half}


def _with(recipe: Recipe, stage: Stage) -> Recipe:
    stages = tuple(stage if each.name == stage.name else each for each in recipe.stages)
    return replace(recipe, stages=stages)
