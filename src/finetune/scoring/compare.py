"""Row scores to one comparison: means with intervals, and each model against the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from finetune.scoring import resample
from finetune.scoring.resample import Column, Interval
from finetune.tasks.base import Metric

Rows = Mapping[str, Sequence[Mapping[str, float]]]  # model -> the metrics of each row


def compare(
    scores: Rows,
    metrics: Sequence[Metric],
    seed: int,
    baselines: Sequence[str] = (),
    against: str = "",
) -> dict[str, Any]:
    """One task's part of comparison.json.

    The models are compared with `against`, by default the first of them that is no baseline.
    Means carry bootstrap intervals, or Wilson's where every row is a yes or a no.
    """
    against = against or next(name for name in scores if name not in baselines)
    columns = _columns(scores, metrics)
    shares = {each.name for each in metrics if _is_share(each.name, columns)}
    ends = resample.intervals(list(columns.values()), seed)
    models: dict[str, dict[str, Any]] = {name: {} for name in scores}
    for ((model, metric), column), drawn in zip(columns.items(), ends, strict=True):
        interval = _share(column) if metric in shares else drawn
        models[model][metric] = {"mean": column.mean, "low": interval.low, "high": interval.high}
    return {
        "metrics": [
            {
                "name": each.name,
                "better": each.better,
                "unit": each.unit,
                "in_table": each.in_table,
            }
            for each in metrics
        ],
        "rows": len(next(iter(scores.values()))),
        "against": against,
        "models": models,
        "pairs": _pairs(columns, metrics, against, seed),
        "baselines": list(baselines),
        "statistics": {
            "level": resample.LEVEL,
            "interval": "bootstrap of rows, BCa; Wilson where every row is 0 or 100",
            "p": "paired permutation, two-sided",
            "resamples": resample.RESAMPLES,
            "seed": seed,
        },
    }


def by_group(
    scores: Rows, metrics: Sequence[Metric], groups: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """{kind: {label: {"rows", "models": {model: {metric: mean}}}}}, labels as they first come."""
    return {
        kind: {label: _of_label(scores, metrics, labels, label) for label in dict.fromkeys(labels)}
        for kind, labels in groups.items()
    }


def _of_label(
    scores: Rows, metrics: Sequence[Metric], labels: Sequence[str], label: str
) -> dict[str, Any]:
    wanted = [number for number, each in enumerate(labels) if each == label]
    chosen = {model: [rows[number] for number in wanted] for model, rows in scores.items()}
    models: dict[str, dict[str, float]] = {model: {} for model in scores}
    for (model, metric), column in _columns(chosen, metrics).items():
        models[model][metric] = column.mean
    return {"rows": len(wanted), "models": models}


def _columns(scores: Rows, metrics: Sequence[Metric]) -> dict[tuple[str, str], Column]:
    found = {}
    for model, rows in scores.items():
        for metric in metrics:
            if all(metric.name in row for row in rows):
                found[model, metric.name] = _column(rows, metric)
    return found


def _column(rows: Sequence[Mapping[str, float]], metric: Metric) -> Column:
    values = np.array([row[metric.name] for row in rows], dtype=np.float64)
    weights = (
        np.array([row[metric.weight] for row in rows], dtype=np.float64)
        if metric.weight
        else np.ones(len(rows))
    )
    return Column(values, weights, metric.average == "geometric")


def _is_share(metric: str, columns: Mapping[tuple[str, str], Column]) -> bool:
    """Whether every row of every model is a yes or a no, 100 or 0."""
    own = [column for (_, name), column in columns.items() if name == metric]
    return all(np.isin(each.values, (0, 100)).all() and (each.weights == 1).all() for each in own)


def _share(column: Column) -> Interval:
    hits = int(np.sum(column.values == 100))
    share = resample.share_interval(hits, len(column.values))
    return Interval(100 * share.low, 100 * share.high)


def _pairs(
    columns: Mapping[tuple[str, str], Column], metrics: Sequence[Metric], against: str, seed: int
) -> dict[str, dict[str, Any]]:
    better = {metric.name: metric.better for metric in metrics}
    wanted = [
        (model, metric)
        for model, metric in columns
        if model != against and (against, metric) in columns
    ]
    if not wanted:
        return {}
    ours = [columns[key] for key in wanted]
    theirs = [columns[against, metric] for _, metric in wanted]
    found: dict[str, dict[str, Any]] = {}
    compared = resample.pairs(ours, theirs, seed)
    for (model, metric), one, other, pair in zip(wanted, ours, theirs, compared, strict=True):
        gaps = (one.values - other.values) * (-1 if better[metric] == "lower" else 1)
        found.setdefault(model, {})[metric] = {
            "difference": pair.difference,
            "low": pair.interval.low,
            "high": pair.interval.high,
            "p": pair.p,
            "wins": int(np.sum(gaps > 0)),
            "ties": int(np.sum(gaps == 0)),
            "losses": int(np.sum(gaps < 0)),
        }
    return found
