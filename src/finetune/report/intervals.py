"""Geometry of the picture that says most: each model's mean with its interval, on one axis."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.report.charts import Scale, Tick, label, ticks
from finetune.report.scores import Metric, Table

WIDTH, LEFT, RIGHT, TOP, ROW = 420, 100, 58, 6, 28


@dataclass(frozen=True)
class Bar:
    """One model: where its mean and its interval lie."""

    model: str
    y: float
    mean: float
    low: float | None
    high: float | None
    value: float
    baseline: bool


@dataclass(frozen=True)
class Intervals:
    """What a template needs to draw it."""

    metric: Metric
    bars: list[Bar]
    ticks: list[Tick]
    height: int
    width: int = WIDTH
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP


def intervals(table: Table) -> Intervals | None:
    """The headline metric of a table; None where fewer than two models have it."""
    metric = table.headline
    found = {
        name: values[metric.name]
        for name, values in table.models.items()
        if metric and metric.name in values
    }
    if metric is None or len(found) < 2:
        return None
    ends = [
        each
        for value in found.values()
        for each in (value.low, value.mean, value.high)
        if each is not None
    ]
    marks = ticks(min(ends), max(ends), 4)
    scale = Scale(marks[0], marks[-1], LEFT, WIDTH - RIGHT)
    bars = [
        Bar(
            model=name,
            y=TOP + ROW * (index + 0.5),
            mean=round(scale.at(value.mean), 1),
            low=None if value.low is None else round(scale.at(value.low), 1),
            high=None if value.high is None else round(scale.at(value.high), 1),
            value=value.mean,
            baseline=name in table.baselines,
        )
        for index, (name, value) in enumerate(found.items())
    ]
    axis = [Tick(scale.at(each), label(each, marks)) for each in marks]
    return Intervals(metric, bars, axis, TOP + ROW * len(bars) + 26)
