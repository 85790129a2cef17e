"""What the report tells of a training stage: its data, its curves, rows as the model saw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finetune.chain.record import Record
from finetune.report.charts import Chart
from finetune.report.curves import curves
from finetune.report.layout import number
from finetune.report.lines import Reader

HISTORY, SAMPLES = "history.jsonl", "samples.jsonl"
# Facts that another part of the page shows.
ELSEWHERE = {"peak_memory_mb", "rows_per_second"}

NAMED = 3  # files


@dataclass(frozen=True)
class Sample:
    """One row, in stretches of text that are learnt or not."""

    row: int
    title: str
    runs: list[dict[str, Any]]
    shortened: bool
    cut: int

    @property
    def tokens(self) -> int:
        """Its length."""
        return sum(run["tokens"] for run in self.runs)

    @property
    def learnt(self) -> int:
        """How many tokens the loss is taken over."""
        return sum(run["tokens"] for run in self.runs if run["learnt"])


@dataclass(frozen=True)
class Trained:
    """One training stage."""

    record: Record
    data: str
    facts: list[tuple[str, Any]]
    curves: list[Chart]
    samples: list[Sample]


def trained(record: Record, reader: Reader) -> Trained | None:
    """None for a stage that trains nothing."""
    if HISTORY not in record.files:
        return None
    history = reader.lines(record.folder / HISTORY)
    samples = reader.lines(record.folder / SAMPLES)
    facts = [
        (name.replace("_", " "), value)
        for name, value in record.facts.items()
        if name not in ELSEWHERE and value not in (0, None)
    ]
    return Trained(
        record=record,
        data=data_of(record),
        facts=facts,
        curves=curves(history, record.facts.get("step_0_loss")),
        samples=[Sample(**each) for each in samples],
    )


def data_of(record: Record) -> str:
    """The files or data sets that were read, and how much of them."""
    found = list(record.ingredients.get("data", {}))
    more = f" and {len(found) - NAMED} more files" if len(found) > NAMED else ""
    names = ", ".join(found[:NAMED]) + more if found else "data that was not recorded"
    rows = (record.ingredients.get("settings", {}).get("data") or {}).get("rows")
    return f"{names}, the first {number(rows)} rows" if rows else names
