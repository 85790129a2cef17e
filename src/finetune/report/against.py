"""Several runs beside each other: what differs between them, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune.chain.record import Record
from finetune.errors import FinetuneError
from finetune.report import headline
from finetune.report.charts import Chart
from finetune.report.cost import cost
from finetune.report.curves import overlaid
from finetune.report.gather import Run, gather
from finetune.report.layout import number
from finetune.report.page import render, write
from finetune.report.paired import Pairs, pairs_of
from finetune.report.scores import Pair, Table, tables
from finetune.report.settings import differing
from finetune.report.training import HISTORY

NAME = "comparison.html"
BETWEEN = " · "

Found = dict[str, tuple[Record, Table]]  # task -> where it was scored


def compare_runs(folders: list[Path], file: Path | None = None) -> Path:
    """Write one page over all runs, the first being the one the others are compared with.

    Raises:
        FinetuneError: no run is there, or one is given twice.
        OSError: the file cannot be written.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise FinetuneError("the same run is given twice", remedy="Give each run folder once.")
    target = file or Path(NAME)
    write(page([gather(folder) for folder in folders]), target)
    return target


def page(runs: list[Run]) -> str:
    """The page as text."""
    names = labels(runs)
    found = [_tables(run) for run in runs]
    counts = Counter(task for each in found for task in each)
    shared = [task for task, count in counts.items() if count > 1]
    told, compared = [], []
    for task in shared:
        table = _beside(task, names, found)
        pairs = _pairs(task, names, found, runs[0].journal.seed)
        compared.append((table, pairs))
        told += [_sentence(table, names[0], key, pair) for key, pair in _headlines(table, pairs)]
    curves = list(_curves(runs, names))
    sections = {
        "summary": True,
        "differences": True,
        "scores": compared,
        "curves": curves,
    }
    return render(
        "against.html",
        sections=[(name, name.capitalize()) for name, there in sections.items() if there],
        runs=[(name, run, cost(run.records)) for name, run in zip(names, runs, strict=True)],
        names=names,
        differences=differing(runs),
        sentences=told,
        compared=compared,
        curves=curves,
    )


def labels(runs: list[Run]) -> list[str]:
    """A name for each run that no other has: of its folder, with those above it if needed."""
    for depth in range(1, 1 + max(len(run.folder.parts) for run in runs)):
        names = ["/".join(run.folder.parts[-depth:]) for run in runs]
        if len(set(names)) == len(names):
            break
    return names


def _tables(run: Run) -> Found:
    return {
        table.name: (record, table)
        for record in run.records
        for table in tables(record, run.reader)
    }


def _beside(task: str, names: list[str], found: list[Found]) -> Table:
    """One table with a row for each model of each run."""
    own = [(name, each[task][1]) for name, each in zip(names, found, strict=True) if task in each]
    models = dict.fromkeys(model for _, table in own for model in table.models)
    first = own[0][1]
    return Table(
        stage=first.stage,
        name=task,
        metrics=first.metrics,
        models={
            f"{model}{BETWEEN}{name}": table.models[model]
            for model in models
            for name, table in own
            if model in table.models
        },
        rows=first.rows if len({table.rows for _, table in own}) == 1 else None,
        baselines=[f"{each}{BETWEEN}{name}" for name, table in own for each in table.baselines],
    )


def _pairs(task: str, names: list[str], found: list[Found], seed: int) -> Pairs:
    """Models of the other runs against those of the same name in the first, on the same rows."""
    if task not in found[0]:
        return {}
    record, table = found[0][task]
    made: Pairs = {}
    for name, other in zip(names[1:], found[1:], strict=True):
        if task in other:
            by_model = pairs_of(record, other[task][0], table, seed)
            made |= {f"{model}{BETWEEN}{name}": pair for model, pair in by_model.items()}
    return made


def _headlines(table: Table, pairs: Pairs) -> Iterator[tuple[str, Pair]]:
    """The headline metric of every model that is not the same in both runs."""
    metric = table.headline
    for key, by_metric in pairs.items():
        if metric and metric.name in by_metric:
            pair = by_metric[metric.name]
            if pair.wins or pair.losses:
                yield key, pair


def _sentence(table: Table, first: str, key: str, pair: Pair) -> str:
    metric = table.headline
    assert metric is not None
    model, name = key.split(BETWEEN, 1)
    before = table.models[f"{model}{BETWEEN}{first}"][metric.name].mean
    after = table.models[key][metric.name].mean
    return (
        f"On {table.name}, {model} has {metric.name} {number(after)} in {name} and "
        f"{number(before)} in {first}.{headline.sureness(pair, table.rows)}"
    )


def _curves(runs: list[Run], names: list[str]) -> Iterator[tuple[str, list[Chart]]]:
    """Curves of stages that several runs have, over one another."""
    stages = dict.fromkeys(record.name for run in runs for record in run.records)
    for stage in stages:
        histories: dict[str, Any] = {}
        for name, run in zip(names, runs, strict=True):
            for record in run.records:
                if record.name == stage and HISTORY in record.files:
                    histories[name] = run.reader.lines(record.folder / HISTORY)
        if charts := overlaid(histories):
            yield stage, charts
