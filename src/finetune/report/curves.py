"""Which curves a training stage's history makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from finetune.report.charts import Chart, Series, chart

History = Sequence[Mapping[str, Any]]

# Title, what the vertical axis is, {key in the history: name in the legend}. The first is of
# every trainer, and is worded anew for those whose loss is no cross-entropy.
LOSS = "loss"
CURVES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("Loss", "nats per token", {LOSS: "training", "eval_loss": "held out"}),
    (
        "Implicit rewards",
        "β × log-ratio to the reference",
        {
            "rewards/margins": "margin",
            "rewards/chosen": "chosen",
            "rewards/rejected": "rejected",
        },
    ),
    ("Pairs ranked right", "share of the batch", {"rewards/accuracies": "accuracy"}),
    (
        "Log-probability of the answers",
        "nats per answer",
        {"logps/chosen": "chosen", "logps/rejected": "rejected"},
    ),
    ("Tokens predicted right", "share", {"mean_token_accuracy": "accuracy"}),
    ("Learning rate", "per step", {"learning_rate": "learning rate"}),
    ("Gradient norm", "before clipping", {"grad_norm": "norm"}),
)
PREFERENCE_LOSS, STEP = "loss per pair", "optimizer step"


def curves(history: History, step_0_loss: float | None = None) -> list[Chart]:
    """One chart for each kind of number that was logged."""
    made: list[Chart] = []
    for title, unit, names in CURVES:
        known = title == CURVES[0][0] and step_0_loss is not None
        level = (float(step_0_loss or 0), "equal models") if known else None
        series = [Series(name, points(history, key)) for key, name in names.items()]
        if drawn := chart(title, STEP, _unit(title, unit, [history]), series, level):
            made.append(drawn)
    return made


def overlaid(histories: Mapping[str, History]) -> list[Chart]:
    """The first curve of each kind, of several runs over one another."""
    made: list[Chart] = []
    for title, unit, names in CURVES:
        key = next(iter(names))
        series = [Series(run, points(history, key)) for run, history in histories.items()]
        if sum(len(each.points) > 1 for each in series) > 1 and (
            drawn := chart(title, STEP, _unit(title, unit, histories.values()), series)
        ):
            made.append(drawn)
    return made


def _unit(title: str, unit: str, histories: Iterable[History]) -> str:
    """The loss of preference training is no cross-entropy."""
    of_pairs = any("rewards/margins" in entry for history in histories for entry in history)
    return PREFERENCE_LOSS if title == CURVES[0][0] and of_pairs else unit


def points(history: History, key: str) -> list[tuple[float, float]]:
    """(step, value) wherever the key was logged as a number."""
    return [
        (float(entry["step"]), float(entry[key]))
        for entry in history
        if isinstance(entry.get(key), int | float) and isinstance(entry.get("step"), int | float)
    ]
