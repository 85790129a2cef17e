"""The closing table of a run: what each model scores, what each stage did, where it lies."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from finetune.chain.files import shown
from finetune.chain.plan import Step
from finetune.chain.provenance import changed
from finetune.chain.record import Record
from finetune.chain.run import Outcome
from finetune.report.compared import scores
from finetune.report.gather import NAME as REPORT
from finetune.report.layout import columns, duration, number
from finetune.scoring.files import comparison

# The facts that a person looks at first; the others stand in `finetune show RECIPE STAGE`.
MAIN_FACTS = (
    *("rows", "documents", "steps", "loss_first", "loss_last", "step_0_loss"),
    *("last_reward_accuracy", "equal_answers", "pushed", "onto"),
    *("dequantized_max_logit", "full_precision_max_logit", "merged_max_logit"),
)


def closing(outcome: Outcome) -> str:
    """The table that ends a run."""
    parts = [
        _scores(outcome),
        _stages(outcome),
        _places(outcome),
        _notes(outcome),
        _page(outcome),
        _next(outcome),
    ]
    return "\n\n".join(part for part in parts if part)


def _scores(outcome: Outcome) -> str:
    blocks: list[str] = []
    for step in outcome.plan.steps:
        record = outcome.records.get(step.stage.name)
        if record:
            blocks.append(scores(comparison(record.folder)))
    return "\n\n".join(filter(None, blocks))


def _stages(outcome: Outcome) -> str:
    rows = [["stage", "", "time", "what it says of itself"]]
    for step in outcome.plan.steps:
        name = step.stage.name
        record = outcome.records.get(name)
        if record is None:
            rows.append([name, "missing", "", str(step)])
        else:
            did = "ran" if name in outcome.ran else "kept"
            rows.append([name, did, duration(record.made.get("seconds")), main_facts(record)])
    return columns(rows, right=False)


def main_facts(record: Record) -> str:
    """The facts that a person looks at first, in one line."""
    facts = {name: record.facts[name] for name in MAIN_FACTS if name in record.facts}
    if {"loss_first", "loss_last"} <= set(facts):
        first, last = facts.pop("loss_first"), facts.pop("loss_last")
        facts["loss"] = f"{number(first)} -> {number(last)}"
    return ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in facts.items())


def _places(outcome: Outcome) -> str:
    rows = [
        [name, shown(record.folder)]
        for name, record in outcome.records.items()
        if record.model is not None
    ]
    return columns([["model", "lies in"], *rows], right=False) if rows else ""


def _notes(outcome: Outcome) -> str:
    """Warnings of all stages, and libraries that have changed since a kept stage ran."""
    lines = [
        f"{name}: {warning}"
        for name, record in outcome.records.items()
        for warning in record.warnings
    ]
    kept = [step for step in outcome.plan.steps if step.stage.name not in outcome.ran]
    lines += _grown_old(kept, outcome)
    return "\n".join(["notes", *(f"  {line}" for line in lines)]) if lines else ""


def _grown_old(kept: Iterable[Step], outcome: Outcome) -> list[str]:
    stages_by_change: dict[str, list[str]] = {}
    for step in kept:
        record = outcome.records.get(step.stage.name)
        if record and (differences := changed(record.made.get("versions", {}))):
            stages_by_change.setdefault(", ".join(differences), []).append(step.stage.name)
    return [f"{', '.join(names)} made with {text}" for text, names in stages_by_change.items()]


def _page(outcome: Outcome) -> str:
    file = outcome.plan.store.folder / REPORT
    return f"report  {shown(file)}" if file.is_file() else ""


def _next(outcome: Outcome) -> str:
    """What can be done with it now."""
    finished = [record for record in outcome.records.values() if record.model_ref()]
    if not finished:
        return ""
    model = finished[-1].model_ref()
    assert model is not None
    if model.adapter is None:
        use = f"AutoModelForCausalLM.from_pretrained({shown(Path(model.base.model or ''))!r})"
    else:
        use = f"PeftModel.from_pretrained(base, {shown(model.adapter)!r})"
    name = finished[-1].name
    return "\n".join(
        [
            f"next  load {name}: {use}",
            "      change one key of the recipe and run again: the stages it does not touch stay",
            f"      finetune show RECIPE {name} tells on what and from what {name} was made",
        ]
    )
