"""What led to a model: the finished stages on the way to it, as an export's card tells them."""

from __future__ import annotations

from finetune.chain.links import evaluations, lineage
from finetune.chain.plan import Plan
from finetune.job import Past
from finetune.recipe.types import Export
from finetune.scoring.files import comparison


def past(plan: Plan, stage: Export) -> tuple[Past, ...]:
    """Stages in order, with what each found."""
    recipe = plan.recipe
    names = {e.name for e in (*lineage(recipe, stage), *evaluations(recipe, stage))}
    found = []
    for step in plan.steps:
        record = step.record or plan.store.find(step.stage.name, step.keyed.key).record
        if record and step.stage.name in names:
            found.append(
                Past(
                    stage=step.stage,
                    model=record.model_ref(),
                    facts=record.facts,
                    comparison=comparison(record.folder),
                )
            )
    return tuple(found)
