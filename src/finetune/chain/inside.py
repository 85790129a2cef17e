"""What happens inside a stage's process: its job is put together and its function called."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from dataclasses import dataclass, replace
from typing import Any

from finetune import console, stages
from finetune.chain import group, room
from finetune.chain.inputs import adapter_path, placed
from finetune.chain.links import BASE, makes_model, parent, scored_models
from finetune.chain.past import past
from finetune.chain.plan import Plan, Step
from finetune.chain.provenance import device, peak_memory, versions
from finetune.embedded import BASES
from finetune.errors import FinetuneError
from finetune.garbage import spare_for_good
from finetune.job import Job, ModelRef, Result
from finetune.launch import refused, sharing
from finetune.ranks import is_main
from finetune.recipe.types import Base, Candidate, Evaluate, Export, Recipe


@dataclass(frozen=True)
class Done:
    """A stage's result, and the machine it was made on."""

    result: Result
    made: dict[str, Any]


SMALL = 0.02  # share of the memory below which weights are no reason to plan it
LOOKED_AT = 20_000  # rows of a stage that are audited before it runs


def import_stages(kinds: list[str]) -> None:
    """Import the modules of these kinds, and with them torch and TRL.

    Threads of OpenMP that spin while they wait make two programs on the same cores ten times
    slower than one after the other; torch's read this when they are loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    group.prepare()
    for kind in dict.fromkeys(kinds):
        _module(kind)


def _module(kind: str) -> Any:
    # On import it asks for an optional package that is of no use here.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        module = importlib.import_module(stages.MODULES[kind])
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("finetune"):
            raise
        raise FinetuneError(
            f"the library {error.name!r} is not installed",
            where=kind,
            remedy="Install finetune with its dependencies: pip install finetune",
        ) from error
    if "transformers" in sys.modules:
        importlib.import_module("finetune.stages.quiet").hush()
    return module


def check_all(plan: Plan) -> list[FinetuneError]:
    """Problems of every stage that is to run, as all ranks together find them."""
    group.join(0)
    mine = (
        [each.stage.name for each in plan.steps],
        [(each.status, each.keyed.key) for each in plan.steps],
        versions(),
        _check_here(plan),
    )
    everyones = group.everyones(mine)
    group.leave()
    if any(each[:2] != mine[:2] for each in everyones):
        raise FinetuneError(
            "the processes do not see the same run folder and data",
            where=str(plan.store.folder),
            remedy="Put output_dir and the data on a file system that all machines share.",
        )
    _same_libraries([libraries for *_, libraries, _ in everyones])
    errors = {str(error): error for *_, found in everyones for error in found}
    return list(errors.values())


def _same_libraries(everyones: list[dict[str, str]]) -> None:
    """Refuse machines of which one would take other ways than another, and wait for it."""
    names = dict.fromkeys(name for each in everyones for name in each)
    found = {name: {each.get(name, "none") for each in everyones} for name in names}
    if other := [f"{name} {', '.join(sorted(v))}" for name, v in found.items() if len(v) > 1]:
        raise FinetuneError(
            f"the processes do not have the same libraries ({'; '.join(other)})",
            remedy="Install the same versions on all machines.",
        )


def perform(plan: Plan, index: int) -> Done:
    """Run one stage."""
    group.join(1 + index)
    stage = plan.steps[index].stage
    module = _module(stage.kind)
    spare_for_good()
    result = module.run(stage, job(plan, index))
    group.leave()
    return Done(result, {"device": device(), "peak_memory": peak_memory()})


def job(plan: Plan, index: int) -> Job:
    """What the stage gets; where the stages it takes from have not run, a base stands for them.

    `evaluate` gets the models that it scores, in order, and nothing else: its key knows no more.
    """
    recipe, step = plan.recipe, plan.steps[index]
    models = {BASE: ModelRef(base=recipe.base)}
    for before in plan.steps[:index]:
        if makes_model(before.stage):
            models[before.stage.name] = _model(plan, before) or _stand_in(recipe.base)
    if isinstance(step.stage, Evaluate):
        models = {
            each.name: _outside(recipe, each) if each.model else models[each.name]
            for each in scored_models(recipe, step.stage)
        }
        start = next(iter(models))
    else:
        before_it = parent(recipe, step.stage)
        start = before_it.name if before_it else BASE
    return Job(
        name=step.stage.name,
        out=plan.store.part(step.stage.name, step.keyed.key),
        seed=recipe.seed,
        model=models[start],
        models=models,
        past=past(plan, step.stage) if isinstance(step.stage, Export) else (),
    )


def _outside(recipe: Recipe, model: Candidate) -> ModelRef:
    """A model that no stage made: a whole one, or an adapter on the recipe's base."""
    if adapter := adapter_path(model):
        return ModelRef(base=recipe.base, adapters=(adapter,))
    return ModelRef(base=model.base())


def _stand_in(base: Base) -> ModelRef:
    """A base to check with: of random weights to come, there is the architecture, no tokenizer."""
    if base.model is None:
        base = replace(base, model=BASES[0], tokenizer=None)
    return ModelRef(base=base)


def _model(plan: Plan, step: Step) -> ModelRef | None:
    record = step.record or plan.store.find(step.stage.name, step.keyed.key).record
    return record.model_ref() if record else None


def _check_here(plan: Plan) -> list[FinetuneError]:
    found: list[FinetuneError] = []
    by_text: dict[str, tuple[FinetuneError, list[str]]] = {}  # what stages share is told once
    try:
        room.check_memory(plan.recipe.base)
    except FinetuneError as error:
        found.append(error)
    shared = sharing.from_environment()
    found += [*refused.problems(plan.recipe, shared), *refused.without_compiler(shared)]
    for index, step in enumerate(plan.steps):
        if step.status == "keep":
            continue
        try:
            _module(step.stage.kind).check(step.stage, job(plan, index))
        except FinetuneError as error:
            by_text.setdefault(str(error), (error, []))[1].append(step.stage.name)
    found += [placed(error, ", ".join(names)) for error, names in by_text.values()]
    return found or _short_of_memory(plan) or _audited(plan)


def _short_of_memory(plan: Plan) -> list[FinetuneError]:
    """Stages that would not fit; of a base that is small beside the memory it is not asked."""
    memory = room.memory()
    if memory is None or room.weights_in_memory(plan.recipe.base) < SMALL * memory:
        return []
    from finetune.chain.forecast import place
    from finetune.chain.foresee import shortage

    found, warnings = shortage(plan, place())
    for warning in warnings:
        console.warn(warning)
    return found


def _audited(plan: Plan) -> list[FinetuneError]:
    """What the rows of the stages to run hold that would ruin them; the rest is said."""
    names = [step.stage.name for step in plan.steps if step.status != "keep"]
    if not is_main() or not any(hasattr(step.stage, "data") for step in plan.steps):
        return []  # rows are the same for all ranks
    from finetune.audit.look import audit
    from finetune.audit.show import refusal, warnings

    found = []
    for each in audit(plan.recipe, names, most=LOOKED_AT):
        found.append(each)
        for warning in warnings(each):
            console.warn(f"{each.stage}: {warning}")
    text = refusal(found)
    return [FinetuneError(f"rows that would ruin what is learnt\n{text}")] if text else []
