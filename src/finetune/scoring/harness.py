"""Numbers of lm-evaluation-harness in the form of our own: its means, its standard errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.recipe.types import Score
from finetune.scoring import files
from finetune.scoring.compare import compare
from finetune.scoring.resample import LEVEL, NORMAL
from finetune.tasks.base import Metric

BETTER = {True: "higher", False: "lower", None: "neither"}


def compared(score: Score, folder: Path, seed: int) -> dict[str, Any]:
    """The task's part of comparison.json; its rows' scores go to disk where it has any.

    Means are the library's, intervals its standard errors; models are compared row by row where
    it says how each row scored.
    """
    found = files.read_object(folder / f"harness-{score.name}.json")
    first = next(iter(found.values()))
    metrics = [
        Metric(name, BETTER[each["higher_is_better"]], "")  # type: ignore[arg-type]
        for name, each in first["numbers"].items()
    ]
    by_row = [each for each in metrics if _has_rows(found, each.name)]
    rows = {model: _rows(own["numbers"], by_row) for model, own in found.items()}
    part = _without_rows(found)
    if by_row:
        lines = (
            {"scores": dict(zip(rows, each, strict=True))}
            for each in zip(*rows.values(), strict=True)
        )
        files.write_lines(folder / f"scores-{score.name}.jsonl", lines)
        part = compare(rows, by_row, seed)
    described = [
        {"name": each.name, "better": each.better, "unit": each.unit, "in_table": True}
        for each in metrics
    ]
    models = {
        model: {name: _mean(number) for name, number in own["numbers"].items()}
        for model, own in found.items()
    }
    statistics = {**part["statistics"], "interval": "lm-evaluation-harness's standard error"}
    return {**part, "metrics": described, "models": models, "statistics": statistics}


def _without_rows(found: Mapping[str, Any]) -> dict[str, Any]:
    first = next(iter(found))
    return {
        "rows": found[first]["rows"],
        "against": first,
        "pairs": {},
        "baselines": [],
        "statistics": {"level": LEVEL},
    }


def _has_rows(found: Mapping[str, Any], metric: str) -> bool:
    counts = {len(own["numbers"][metric]["rows"]) for own in found.values()}
    return len(counts) == 1 and counts != {0} and counts == {next(iter(found.values()))["rows"]}


def _rows(numbers: Mapping[str, Any], metrics: list[Metric]) -> list[dict[str, float]]:
    columns = [numbers[metric.name]["rows"] for metric in metrics]
    names = [metric.name for metric in metrics]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _mean(number: Mapping[str, Any]) -> dict[str, float | None]:
    value, error = number["value"], number["stderr"]
    if error is None:
        return {"mean": value, "low": None, "high": None}
    half = NORMAL.inv_cdf(0.5 + LEVEL / 2) * error
    return {"mean": value, "low": value - half, "high": value + half}
