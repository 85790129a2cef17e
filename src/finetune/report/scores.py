"""Tables of an evaluation: every model on every metric, with intervals and paired differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from finetune.chain.record import Record
from finetune.report.layout import number
from finetune.report.lines import Reader
from finetune.scoring.files import COMPARISON


@dataclass(frozen=True)
class Metric:
    """A column; `better` is higher, lower or neither."""

    name: str
    better: str = "neither"
    unit: str = ""
    in_table: bool = True

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is, 0 where neither."""
        return {"higher": 1, "lower": -1}.get(self.better, 0)


@dataclass(frozen=True)
class Value:
    """A mean and its interval, which is unknown for numbers that are no mean over rows."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Pair:
    """A model against the one it is compared with, row by row."""

    difference: float
    low: float
    high: float
    p: float
    wins: int
    ties: int
    losses: int

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Group:
    """The rows with one label, and the mean of each model on each metric over them."""

    rows: int
    models: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Table:
    """One task over one set of rows."""

    stage: str
    name: str
    metrics: list[Metric]
    models: dict[str, dict[str, Value]]
    rows: int | None = None
    against: str | None = None
    pairs: dict[str, dict[str, Pair]] = field(default_factory=dict)
    baselines: list[str] = field(default_factory=list)
    groups: dict[str, dict[str, Group]] = field(default_factory=dict)  # kind -> label -> group

    @property
    def main(self) -> list[Metric]:
        """The metrics that are read first."""
        return [metric for metric in self.metrics if metric.in_table and self._is_known(metric)]

    @property
    def rest(self) -> list[Metric]:
        """All others."""
        return [metric for metric in self.metrics if not metric.in_table and self._is_known(metric)]

    @property
    def grouped(self) -> list[Metric]:
        """The metrics that are shown for each group of rows: those read first, with a direction."""
        return [metric for metric in self.main if metric.sign]

    @property
    def headline(self) -> Metric | None:
        """The first metric with a direction that tells models apart, else the first with one."""
        directed = [metric for metric in self.metrics if metric.sign]
        apart = (metric for metric in directed if metric.in_table and self._differs(metric))
        return next(apart, directed[0] if directed else None)

    def _differs(self, metric: Metric) -> bool:
        """Whether not all models have the same mean; free baselines are left out."""
        found = [
            number(values[metric.name].mean)
            for name, values in self.models.items()
            if metric.name in values and name not in self.baselines
        ]
        return len(set(found)) > 1

    def _is_known(self, metric: Metric) -> bool:
        return any(metric.name in values for values in self.models.values())

    def best(self, metric: Metric) -> str | None:
        """The trained model or base that is alone ahead; free baselines do not compete."""
        values = {
            name: found[metric.name].mean * metric.sign
            for name, found in self.models.items()
            if metric.name in found and name not in self.baselines
        }
        if not metric.sign or len(values) < 2:
            return None
        top = number(max(values.values()))
        ahead = [name for name, value in values.items() if number(value) == top]
        return ahead[0] if len(ahead) == 1 else None


def tables(record: Record, reader: Reader) -> list[Table]:
    """One for each task of an evaluation; none of other stages."""
    compared = reader.table(record.folder / COMPARISON)
    return [table_of(record.name, name, found) for name, found in compared.items()]


def table_of(stage: str, name: str, found: Mapping[str, Any]) -> Table:
    """A task of a comparison, as it lies in its file."""
    return Table(
        stage=stage,
        name=name,
        metrics=[_known(Metric, metric) for metric in found["metrics"]],
        models=each_of(Value, found["models"]),
        rows=found.get("rows"),
        against=found.get("against"),
        pairs=each_of(Pair, found.get("pairs", {})),
        baselines=found.get("baselines", []),
        groups={
            kind: {label: _known(Group, each) for label, each in labels.items()}
            for kind, labels in found.get("groups", {}).items()
        },
    )


def each_of(kind: Any, found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{model: {metric: …}} with objects of `kind` in it."""
    return {
        model: {metric: _known(kind, value) for metric, value in by_metric.items()}
        for model, by_metric in found.items()
    }


def _known(kind: Any, found: dict[str, Any]) -> Any:
    """An object of what a report shows; later versions may write more."""
    return kind(**{each.name: found[each.name] for each in fields(kind) if each.name in found})
