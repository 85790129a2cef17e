"""Whether the stages fit together: which model each starts from, and what that model allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from finetune.recipe import gates
from finetune.recipe.export_check import check_export
from finetune.recipe.leaving import Combine
from finetune.recipe.problems import near
from finetune.recipe.read import Reading
from finetune.recipe.tuning_check import BASE, Made, after, check_tuning, trains_weights
from finetune.recipe.types import (
    ADAPTER,
    STAGES,
    Dpo,
    Evaluate,
    Export,
    Merge,
    Pretrain,
    Recipe,
    Stage,
    Tuned,
    ways,
)


def check_chain(recipe: Recipe, reading: Reading) -> None:
    """Follow the model from stage to stage."""
    if not recipe.stages and not reading.problems.touch("stages") and not reading.chain:
        reading.refuse_at("stages", "name one stage or more")
    if _twice(reading):
        return
    _first(recipe, reading)
    start = Made(quantized=bool(recipe.base.quantization))
    made: dict[str, Made] = {BASE: start}
    last = start
    for stage in recipe.stages:
        before = _before(stage, made, last, reading)
        if isinstance(stage, Evaluate):
            _scored(stage, made, recipe, reading)
            continue
        if isinstance(stage, Export):
            if not _unsure(before.adapter or stage.name, reading):
                check_export(stage, before.adapter, before.merged, before.quantized, reading)
            continue
        if isinstance(stage, Merge):
            _compared(stage, [ADAPTER, *ways(before.quantized)], reading)
        if isinstance(stage, Merge) and stage.combine is not None:
            _combined(stage, stage.combine, made, reading)
        last = made[stage.name] = _follow(stage, before, recipe, reading)


def _twice(reading: Reading) -> bool:
    """Whether two stages have one name, which leaves open what the name means."""
    seen: set[str] = set()
    for number, (name, _) in enumerate(reading.chain):
        if name in seen:
            reading.problems.add(
                reading.stage_places[number],
                f"a stage named '{name}' stands above; give this one another `name`",
                f"stages[{number + 1}]",
            )
        seen.add(name)
    return len(seen) < len(reading.chain)


def _first(recipe: Recipe, reading: Reading) -> None:
    """Random weights must be trained before anything else is done with them."""
    if recipe.base.config is None or not reading.chain:
        return
    name, kind = reading.chain[0]
    if kind != Pretrain.kind:
        reading.refuse_at(name, "the first stage after `base.config` must be pretrain")


def _before(stage: Stage, made: Mapping[str, Made], last: Made, reading: Reading) -> Made:
    """The model that a stage starts from."""
    if stage.from_ is None or reading.problems.touch(f"{stage.name}.from"):
        return last
    if isinstance(stage, Evaluate):
        reading.refuse_at(f"{stage.name}.from", "a stage that scores has `models` instead")
    elif stage.from_ not in made:
        _no_model(stage.from_, list(made), f"{stage.name}.from", reading)
    return made.get(stage.from_, last)


def _follow(stage: Stage, before: Made, recipe: Recipe, reading: Reading) -> Made:
    if isinstance(stage, Merge) and stage.combine is not None:
        return Made(quantized=False, weights=stage.name, merged=True)
    if isinstance(stage, Merge):
        unknown = any(kind not in STAGES for _, kind in reading.chain)
        open_ = unknown or any(_unsure(name, reading) for name, _ in reading.chain)
        if before.adapter is None and not open_:
            reading.refuse_at(
                stage.name, "there is no adapter to merge; train one before it with `lora`"
            )
        return Made(quantized=False, weights=stage.name, merged=True)
    if isinstance(stage, Pretrain):
        return _all_weights(stage, before, reading)
    if isinstance(stage, Tuned):
        return _tuned(stage, before, recipe, reading)
    return before


def _tuned(stage: Tuned, before: Made, recipe: Recipe, reading: Reading) -> Made:
    at_fault = len(reading.problems.found)
    check_tuning(stage, before, recipe, reading)
    if len(reading.problems.found) > at_fault:
        return before
    if trains_weights(stage, before):
        return _all_weights(stage, before, reading)
    if isinstance(stage, Dpo):
        _reference(stage, before, reading)
    return after(stage, before)


def _reference(stage: Dpo, before: Made, reading: Reading) -> None:
    """DPO keeps a frozen copy of the adapter as its reference, where there is one."""
    if stage.train.get("sync_ref_model"):
        reading.refuse_at(
            f"{stage.name}.train.sync_ref_model",
            "TRL moves a reference only where all weights are trained: leave `lora` out",
        )
    own = isinstance(stage.lora, dict) and stage.lora.get("bias", "none") != "none"
    if before.bias or own:
        where = f"{stage.name}.lora.bias" if own else f"{before.adapter}.lora.bias"
        reading.refuse_at(
            where,
            f"'{stage.name}' keeps a second adapter as its reference, and PEFT takes biases in "
            "one adapter only; leave `bias` at none",
        )


def _all_weights(stage: Stage, before: Made, reading: Reading) -> Made:
    if before.adapter is not None:
        reading.refuse_at(
            stage.name, f"the adapter of '{before.adapter}' must be merged before all weights train"
        )
    elif before.quantized and not _unsure(stage.name, reading):
        way = "give it `lora: {}`, or take" if not isinstance(stage, Pretrain) else "take"
        reading.refuse_at(
            stage.name, f"all weights of a quantised base cannot be trained; {way} "
            "`base.quantization` out"
        )  # fmt: skip
    return Made(quantized=before.quantized, weights=stage.name)


def _scored(stage: Evaluate, made: Mapping[str, Made], recipe: Recipe, reading: Reading) -> None:
    known = [name for name in made if name != BASE or recipe.base.config is None]
    names = [model.name for model in stage.models or ()]
    for number, model in enumerate(stage.models or (), start=1):
        path, name = f"{stage.name}.models[{number}]", model.name
        if name in names[: number - 1]:
            reading.refuse_at(path, f"'{name}' stands there twice")
        elif model.model is None and name not in known:
            _no_model(name, known, path, reading)
        elif model.model is not None and name in {BASE, *(name for name, _ in reading.chain)}:
            reading.refuse_at(path, f"'{name}' is taken by this recipe; choose another `name`")
    if not known and not reading.problems.touch("base"):
        reading.refuse_at(stage.name, "there is no model to score yet: put it after a stage")
    models = names or known
    _compared(stage, list(models), reading)
    for name, rule in (stage.require or {}).items():
        path = f"{stage.name}.require.{name}"
        if reading.problems.touch(path):
            continue
        against = gates.parse(name, rule, ()).against
        if against and against not in {*models, *gates.BASELINES}:
            _no_model(against, list(models), path, reading)


def _compared(stage: Evaluate | Merge, models: list[str], reading: Reading) -> None:
    """Models that a task compares with are among those scored."""
    for number, score in enumerate(stage.tasks or (), start=1):
        for key in ("reference", "against"):
            name = getattr(score, key)
            if name is not None and name not in models:
                _no_model(name, models, f"{stage.name}.tasks[{number}].{key}", reading)


def _combined(stage: Merge, settings: Combine, made: Mapping[str, Made], reading: Reading) -> None:
    """Adapters to be made one: all there, all on the same weights, a weight for each."""
    path = f"{stage.name}.combine"
    if stage.from_ is not None:
        reading.refuse_at(f"{stage.name}.from", "`combine.adapters` says what is merged")
    names = settings.adapters or ()
    if len(names) < 2 and not reading.problems.touch(f"{path}.adapters"):
        reading.refuse_at(f"{path}.adapters", "name two adapters or more")
    if settings.weights and len(settings.weights) != len(names):
        reading.refuse_at(f"{path}.weights", f"must have one weight for each of {len(names)}")
    for field, message in _unread(settings):
        reading.refuse_at(f"{path}.{field}", message)
    known = [name for name, each in made.items() if each.adapter]
    for number, name in enumerate(names, start=1):
        place = f"{path}.adapters[{number}]"
        if name not in made:
            _no_model(name, known, place, reading)
        elif name in names[: number - 1]:
            reading.refuse_at(place, f"'{name}' stands there twice")
        elif made[name].adapter is None and not _unsure(name, reading):
            reading.refuse_at(place, f"'{name}' leaves no adapter")
        elif names[0] in made and made[name].weights != made[names[0]].weights:
            reading.refuse_at(
                place,
                f"'{name}' stands on the weights of '{made[name].weights}', '{names[0]}' on those "
                f"of '{made[names[0]].weights}': give both the same `from`",
            )


def _unread(settings: Combine) -> Iterator[tuple[str, str]]:
    """Fields of `combine` that its `combination_type` does not read, or cannot do without."""
    kind = settings.combination_type
    trims = kind.startswith(("ties", "dare", "magnitude"))
    if trims and settings.density is None:
        yield "density", f"`combination_type: {kind}` needs it: the share of values kept"
    if not trims and settings.density is not None:
        yield "density", f"`combination_type: {kind}` does not read it"
    if settings.majority_sign_method != "total" and "ties" not in kind:
        yield "majority_sign_method", "is read only by the ties types"
    if settings.svd_rank is not None and "svd" not in kind:
        yield "svd_rank", "is read only by the svd types"


def _unsure(name: str, reading: Reading) -> bool:
    """Whether a mistake in a stage leaves open what it trains: its `lora`, or a key unknown."""
    keys = {key.rpartition(".")[0] for key in reading.problems.keys}
    return name in keys or reading.problems.touch(f"{name}.lora")


def _no_model(name: str, known: list[str], path: str, reading: Reading) -> None:
    stages = dict(reading.chain)
    if stages.get(name, Merge.kind) not in STAGES:
        return  # a mistyped kind, which is said there
    if name == BASE:
        why = "the base has no weights here; name a stage"
    elif stages.get(name) in (Evaluate.kind, Export.kind):
        does = "scores" if stages[name] == Evaluate.kind else "exports"
        why = f"'{name}' {does} and leaves no model"
    elif name in stages:
        why = f"'{name}' is not a model that this stage has: it comes later, or is not in `models`"
    elif match := near(name, known):
        why = f"no stage '{name}'; did you mean '{match}'?"
    else:
        why = f"no stage '{name}'; before this one: {', '.join(known) or 'none'}"
    reading.refuse_at(path, why)
