"""The closing table of a run: what each model scores, what each stage did, where it lies."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from finetune.chain.files import shown
from finetune.chain.plan import Step
from finetune.chain.provenance import changed
from finetune.chain.record import Record
from finetune.chain.run import Outcome
from finetune.recipe.types import Evaluate
from finetune.report.layout import columns, number
from finetune.tasks import TASKS

HALF_WIDTH = " ±"  # a metric of this ending is the confidence interval of the one without
# The facts that a person looks at first; the others stand in `finetune show RECIPE STAGE`.
MAIN_FACTS = (
    *("rows", "documents", "steps", "loss_first", "loss_last", "step_0_loss", "reward_accuracy"),
    *("onto", "dequantized_max_logit", "full_precision_max_logit"),
)
LOWER_IS_BETTER = {"loss", "perplexity"}
HIGHER_IS_BETTER = {"preferred", "reward_accuracy"}


def closing(outcome: Outcome) -> str:
    """The table that ends a run."""
    parts = [_scores(outcome), _stages(outcome), _places(outcome), _notes(outcome), _next(outcome)]
    return "\n\n".join(part for part in parts if part)


def _scores(outcome: Outcome) -> str:
    blocks: list[str] = []
    for step in outcome.plan.steps:
        record = outcome.records.get(step.stage.name)
        if isinstance(step.stage, Evaluate) and record:
            blocks += [
                _block(score.name or score.task, score.task, record) for score in step.stage.tasks
            ]
    marked = any("*" in block for block in blocks)
    return "\n\n".join(filter(None, blocks)) + ("\n* best of the column" if marked else "")


def _block(title: str, task: str, record: Record) -> str:
    """One task: a row for each model, a column for each metric."""
    found = {
        model: {
            key.removeprefix(f"{title} "): value
            for key, value in values.items()
            if key.startswith(f"{title} ")
        }
        for model, values in record.scores.items()
    }
    metrics = [
        name
        for name in dict.fromkeys(name for values in found.values() for name in values)
        if not name.endswith(HALF_WIDTH) and name not in _left_out(task)
    ]
    best = {metric: _best(task, metric, found) for metric in metrics}
    rows = [
        [model, *(_cell(values, metric, best[metric] == model) for metric in metrics)]
        for model, values in found.items()
    ]
    return columns([[title, *metrics], *rows], right=True) if metrics else ""


def _left_out(task: str) -> set[str]:
    """Metrics that would make the table too wide to read."""
    return (
        {each.name for each in TASKS[task].metrics if not each.in_table} if task in TASKS else set()
    )


def _cell(values: dict[str, float], metric: str, best: bool) -> str:
    if metric not in values:
        return "- "
    width = values.get(f"{metric}{HALF_WIDTH}")
    around = f" ± {number(width)}" if width is not None else ""
    return f"{number(values[metric])}{around}{'*' if best else ' '}"


def _best(task: str, metric: str, found: dict[str, dict[str, float]]) -> str | None:
    """The model that is alone ahead; None where no direction is better, or none is ahead."""
    direction = _better(task, metric)
    values = {model: each[metric] for model, each in found.items() if metric in each}
    if direction is None or len(values) < 2:
        return None
    top = (max if direction == "higher" else min)(values.values())
    ahead = [model for model, value in values.items() if number(value) == number(top)]
    return ahead[0] if len(ahead) == 1 else None


def _better(task: str, metric: str) -> str | None:
    if task in TASKS:
        found = {each.name: each.better for each in TASKS[task].metrics}.get(metric, "neither")
        return None if found == "neither" else found
    if metric in LOWER_IS_BETTER:
        return "lower"
    return "higher" if metric in HIGHER_IS_BETTER else None


def _stages(outcome: Outcome) -> str:
    rows = [["stage", "", "time", "what it says of itself"]]
    for step in outcome.plan.steps:
        name = step.stage.name
        record = outcome.records.get(name)
        if record is None:
            rows.append([name, "missing", "", str(step)])
        else:
            did = "ran" if name in outcome.ran else "kept"
            rows.append([name, did, _time(record.made.get("seconds")), _main_facts(record)])
    return columns(rows, right=False)


def _main_facts(record: Record) -> str:
    facts = {name: record.facts[name] for name in MAIN_FACTS if name in record.facts}
    if {"loss_first", "loss_last"} <= set(facts):
        first, last = facts.pop("loss_first"), facts.pop("loss_last")
        facts["loss"] = f"{number(first)} -> {number(last)}"
    return ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in facts.items())


def _time(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return ""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


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
