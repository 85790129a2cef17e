"""What a run would do, stage by stage, and why; made without importing torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finetune.chain import journal, verify
from finetune.chain.files import shown
from finetune.chain.fingerprint import Fingerprints
from finetune.chain.inputs import adapter_path, problems, together
from finetune.chain.keys import Keyed, keys
from finetune.chain.links import lineage, needed
from finetune.chain.record import Record
from finetune.chain.store import Store
from finetune.chain.why import PARENT, differences
from finetune.job import ModelRef
from finetune.recipe.types import Export, Recipe, Stage

Status = Literal["keep", "resume", "run"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One stage with what will be done about it."""

    stage: Stage
    keyed: Keyed
    status: Status
    reason: str = ""
    record: Record | None = None  # of a stage that is kept

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}" if self.reason else self.status


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All stages of a recipe in order."""

    recipe: Recipe
    store: Store
    steps: tuple[Step, ...]

    @property
    def done(self) -> bool:
        """Whether every stage is kept."""
        return all(step.status == "keep" for step in self.steps)

    def __str__(self) -> str:
        width = max(len(step.stage.name) for step in self.steps)
        lines = [f"  {step.stage.name:<{width}}  {step}" for step in self.steps]
        return "\n".join([f"{self.recipe.name} in {shown(self.store.folder)}", *lines])


def store_of(recipe: Recipe) -> Store:
    """The run folder that a recipe names."""
    return Store(Path(recipe.output_dir or f"runs/{recipe.name}").expanduser().resolve())


def make(recipe: Recipe, prints: Fingerprints | None = None) -> Plan:
    """Compare a recipe with what its run folder holds.

    Raises:
        FinetuneError: files that the recipe reads are not there, or not those that were written;
            all of them at once.
    """
    if found := problems(recipe):
        raise together(found, "with what the recipe reads")
    store = store_of(recipe)
    prints = prints or Fingerprints(store.fingerprints)
    keyed = keys(recipe, prints)
    steps: dict[str, Step] = {}
    for stage in recipe.stages:
        steps[stage.name] = _step(recipe, stage, keyed[stage.name], store, steps)
    found = verify.faults(_taken(recipe, steps), prints)
    prints.save()
    if found:
        raise together(found, "with the weights that are to be used")
    return Plan(recipe=recipe, store=store, steps=tuple(steps.values()))


def _taken(recipe: Recipe, steps: dict[str, Step]) -> Iterator[ModelRef]:
    """Models on this machine that the stages to run take."""
    for step in steps.values():
        stage = step.stage
        if step.status == "keep":
            continue
        yield ModelRef(base=recipe.base)
        for model in getattr(stage, "models", ()):
            if adapter := adapter_path(model):
                yield ModelRef(base=recipe.base, adapters=(adapter,))
            elif model.model:
                yield ModelRef(base=model.base())
        before = lineage(recipe, stage) if isinstance(stage, Export) else needed(recipe, stage)
        kept = (steps[each.name].record for each in before)
        yield from (ref for record in kept if record and (ref := record.model_ref()))


def _step(
    recipe: Recipe, stage: Stage, keyed: Keyed, store: Store, before: dict[str, Step]
) -> Step:
    found = store.find(stage.name, keyed.key)
    if found.record:
        return Step(stage=stage, keyed=keyed, status="keep", record=found.record)
    if store.part(stage.name, keyed.key).is_dir():
        return Step(stage=stage, keyed=keyed, status="resume", reason=_where(stage, keyed, store))
    reason = found.fault or _changed(recipe, stage, keyed, store, before)
    return Step(stage=stage, keyed=keyed, status="run", reason=reason)


def _where(stage: Stage, keyed: Keyed, store: Store) -> str:
    if progress := store.progress(stage.name, keyed.key):
        return f"stopped at step {progress[0]} of {progress[1]}"
    return "stopped before its first checkpoint"


def _changed(
    recipe: Recipe, stage: Stage, keyed: Keyed, store: Store, before: dict[str, Step]
) -> str:
    last, once = store.newest(stage.name), journal.finished(store.folder).get(stage.name)
    if once == keyed.key or (once and last is None):
        return "its folder is gone"
    if last is None:
        return "first time"
    if last.key == keyed.key:
        return "its files changed"
    own = differences(stage.name, keyed.ingredients, last.ingredients)
    rerun = [each.name for each in needed(recipe, stage) if before[each.name].status != "keep"]
    return own.replace(PARENT, f"{' and '.join(rerun)} before it changed") if rerun else own
