"""Whether a finished evaluation reaches what its stage requires."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from finetune.errors import FinetuneError
from finetune.recipe import gates
from finetune.recipe.gates import Gate
from finetune.recipe.types import Evaluate
from finetune.tasks import scored

HOLDS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


def check_metrics(stage: Evaluate) -> None:
    """Refuse a gate on a metric that the stage's tasks are known not to have.

    Raises:
        FinetuneError: naming the metrics there are.
    """
    known = {each.name: scored.metric_names(each) for each in stage.tasks}
    for gate in _gates(stage):
        names = [known[gate.task]] if gate.task else list(known.values())
        holders = [each for each in names if each is None or gate.metric in each]
        if not holders:
            listed = ", ".join(name for each in names for name in each or ())
            raise FinetuneError(
                f"no task here has the metric {gate.name!r}",
                where="require",
                remedy=f"There are: {listed}.",
            )
        if len(holders) > 1 and None not in holders:
            tasks = [task for task, each in known.items() if each and gate.metric in each]
            listed = " or ".join(f"{task}.{gate.metric}" for task in tasks)
            raise FinetuneError(
                f"{gate.metric!r} is a metric of {len(tasks)} tasks",
                where="require",
                remedy=f"Write {listed}.",
            )


def failures(stage: Evaluate, comparison: Mapping[str, Any]) -> list[str]:
    """A sentence on each gate that the last of the stage's models does not pass.

    The mean decides, as it stands in the table; its interval is told beside it.
    """
    return [text for gate in _gates(stage) if (text := _failure(gate, comparison))]


def _gates(stage: Evaluate) -> list[Gate]:
    tasks = tuple(each.name for each in stage.tasks)
    return [gates.parse(name, rule, tasks) for name, rule in stage.require.items()]


def _failure(gate: Gate, comparison: Mapping[str, Any]) -> str:
    part = _part(gate, comparison)
    judged = [name for name in part["models"] if name not in part["baselines"]][-1]
    found = _score(part, judged, gate)
    bound = gate.offset + (_score(part, gate.against, gate)["mean"] if gate.against else 0.0)
    if HOLDS[gate.sign](found["mean"], bound):
        return ""
    wanted = f"{gate.bound} = {bound:.4g}" if gate.against else gate.bound
    low, high = found["low"], found["high"]
    around = f" (95% interval {low:.4g} to {high:.4g})" if low is not None else ""
    return f"{gate.name} of {judged!r} is {found['mean']:.4g}{around}, required is {wanted}"


def _part(gate: Gate, comparison: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the comparison that has the gate's metric."""
    for name, part in comparison.items():
        has = gate.metric in {each["name"] for each in part["metrics"]}
        if gate.task == name or (not gate.task and has):
            return part
    raise _absent(gate)


def _score(part: Mapping[str, Any], model: str, gate: Gate) -> Mapping[str, float]:
    try:
        return part["models"][model][gate.metric]
    except KeyError as error:
        raise _absent(gate) from error


def _absent(gate: Gate) -> FinetuneError:
    return FinetuneError(
        f"there is no score for {gate.name!r} {gate.bound}",
        where="require",
        remedy="Name a metric, and a model, that stand in the table (`finetune show`).",
    )
