"""The report of one run: everything its folder tells, on one page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from finetune.chain.record import Record
from finetune.report import cost, headline, scores
from finetune.report.examples import Examples, examples
from finetune.report.gather import NAME, Run, gather
from finetune.report.intervals import intervals
from finetune.report.page import render, write
from finetune.report.table import main_facts
from finetune.report.training import trained

GAPS = ("max_logit", "mean_logit", "mean_kl")


def report(folder: Path, file: Path | None = None) -> Path:
    """Write the report of the run in `folder`, there unless `file` says otherwise.

    Raises:
        FinetuneError: no run is there.
        OSError: the file cannot be written.
    """
    target = file or folder / NAME
    write(page(gather(folder)), target)
    return target


def page(run: Run) -> str:
    """The page as text."""
    tables = [table for record in run.records for table in scores.tables(record, run.reader)]
    shown = [found for record in run.records for found in _examples(record, run)]
    stages = [found for record in run.records if (found := trained(record, run.reader))]
    sections = {
        "summary": True,
        "chain": True,
        "scores": tables,
        "answers": shown,
        "training": stages,
        "merge": merges(run.records),
        "cost": run.records,
        "reproduce": True,
    }
    return render(
        "run.html",
        run=run,
        sections=[(name, name.capitalize()) for name, there in sections.items() if there],
        base=_base(run),
        says={record.name: main_facts(record) for record in run.records},
        sentences=headline.sentences(run, tables),
        tables=tables,
        pictures=[(each.name, picture) for each in tables if (picture := intervals(each))],
        examples=shown,
        trained=stages,
        merges=sections["merge"],
        cost=cost.cost(run.records),
        machines=cost.machines(run.records),
        warnings=_warnings(run),
        file=f"{run.journal.name}.yaml",
    )


def merges(records: list[Record]) -> list[tuple[Record, dict[str, list[Any]]]]:
    """Each merge with what was measured of every way to merge."""
    return [
        (
            record,
            {way: [record.facts.get(f"{way}_{gap}") for gap in GAPS] for way in _ways(record)},
        )
        for record in records
        if _ways(record)
    ]


def _ways(record: Record) -> list[str]:
    suffix = f"_{GAPS[0]}"
    return [name.removesuffix(suffix) for name in record.facts if name.endswith(suffix)]


def _examples(record: Record, run: Run) -> Iterator[Examples]:
    for table in scores.tables(record, run.reader):
        if found := examples(record, table, run.reader, run.journal.seed):
            yield found


def _base(run: Run) -> str:
    """What the chain starts from, in the recipe's words."""
    recipe = yaml.safe_load(run.journal.recipe) or {}
    base = recipe.get("base", {})
    if base.get("model"):
        return Path(base["model"]).name if Path(base["model"]).is_absolute() else base["model"]
    kind = (base.get("config") or {}).get("model_type")
    return f"{kind} of random weights" if kind else "base"


def _warnings(run: Run) -> list[str]:
    """What the stages warned of, versions that changed between them, files left out."""
    own = [f"{record.name}: {each}" for record in run.records for each in record.warnings]
    return [*own, *cost.changed_versions(run.records), *run.reader.faults]
