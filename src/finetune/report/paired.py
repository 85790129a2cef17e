"""Two evaluations of different runs, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finetune.chain.record import Record
from finetune.errors import FinetuneError
from finetune.report.lines import Reader
from finetune.report.scores import Pair, Table, each_of
from finetune.scoring.files import read_settings
from finetune.tasks import scored
from finetune.tasks.base import Metric

Pairs = dict[str, dict[str, Pair]]  # model -> metric -> pair
RowScores = dict[str, list[dict[str, float]]]


def pairs_of(first: Record, second: Record, table: Table, seed: int) -> Pairs:
    """Each model of the second evaluation against its namesake in the first.

    Empty unless both were scored on the same rows by the same metrics.
    """
    one, other = _row_scores(first, table.name), _row_scores(second, table.name)
    metrics = _metrics(first, table.name)
    if (
        not one
        or metrics != _metrics(second, table.name)
        or _rows(first, table.name) != _rows(second, table.name)
    ):
        return {}
    from finetune.scoring.compare import compare  # it needs numpy

    found: Pairs = {}
    for model in one:
        if model in other and model not in table.baselines:
            compared = compare({"1": one[model], "2": other[model]}, metrics, seed)["pairs"]
            found[model] = each_of(Pair, compared).get("2", {})
    return found


def _row_scores(record: Record, task: str) -> RowScores:
    lines = Reader(record.folder).lines(record.folder / f"scores-{task}.jsonl")
    models = lines[0]["scores"] if lines else ()
    return {model: [line["scores"][model] for line in lines] for model in models}


def _rows(record: Record, task: str) -> Any:
    """What tells whether two evaluations had the same rows: their text, or their data's hashes."""
    lines = Reader(record.folder).lines(record.folder / f"predictions-{task}.jsonl")
    if lines:
        return [(line["prompt"], line["references"]) for line in lines]
    tasks = record.ingredients.get("settings", {}).get("tasks", [])
    return record.ingredients.get("data"), [each for each in tasks if each.get("name") == task]


def _metrics(record: Record, task: str) -> Sequence[Metric]:
    """The task's own metrics, which know how they are averaged; none where they are not known."""
    try:
        stage, _ = read_settings(record.folder)
    except FinetuneError:
        return ()
    score = next(each for each in stage.tasks if each.name == task)
    if scored.is_written(score):
        return (*scored.written(score).metrics, scored.STOPPED)
    return scored.LIKELY[score.task].metrics if score.task in scored.LIKELY else ()
