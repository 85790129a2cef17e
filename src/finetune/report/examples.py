"""Answers worth reading, of all models side by side."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from finetune.chain.record import Record
from finetune.report.lines import Reader
from finetune.report.scores import Metric, Table
from finetune.report.words import Piece, marked

EACH = 10  # wins, losses, and a sample
LONGEST = 3000  # characters of a text; what is longer is cut, and says so
MOST_ROWS = 8  # of a query's result

Group = Literal["win", "loss", "sample"]


@dataclass(frozen=True)
class Query:
    """What a query gave when it was run."""

    columns: list[Any]
    rows: list[list[Any]]
    row_count: int
    error: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Answer:
    """What one model wrote, or several alike."""

    models: list[str]
    pieces: list[Piece]
    lost: int = 0  # characters not shown
    scores: dict[str, float] = field(default_factory=dict)
    query: Query | None = None
    judged: list[str] = field(default_factory=list)  # what a judge said of it


@dataclass(frozen=True)
class Example:
    """One row with everything written for it."""

    row: int
    group: Group
    prompt: str
    prompt_lost: int
    references: list[str]
    answers: list[Answer]
    gold: Query | None = None


@dataclass(frozen=True)
class Examples:
    """The chosen rows of a task and how they were chosen."""

    table: Table
    rows: int
    chosen: list[Example]
    metric: Metric | None = None
    model: str = ""
    against: str = ""
    seed: int = 0

    @property
    def how(self) -> str:
        """How the rows were chosen, after their number."""
        parts = []
        if self.metric:
            over = f"{self.metric.name} over {self.against}"
            if wins := self.count("win"):
                parts.append(f"the {wins} on which {self.model} gains most {over}")
            if losses := self.count("loss"):
                parts.append(f"the {losses} on which it loses most")
            if not parts:
                parts.append(f"{self.model} gains and loses no {over}")
        if drawn := self.count("sample"):
            of = "others" if parts else "rows"
            parts.append(f"{drawn} {of} drawn with seed {self.seed}")
        return f": {'; '.join(parts)}"

    def count(self, group: str) -> int:
        """How many of a group there are."""
        return sum(each.group == group for each in self.chosen)


def examples(record: Record, table: Table, reader: Reader, seed: int) -> Examples | None:
    """Rows of a task on which the last model does better or worse, and some by chance."""
    lines = reader.lines(record.folder / f"predictions-{table.name}.jsonl")
    if not lines:
        return None
    scores = _by_row(reader.lines(record.folder / f"scores-{table.name}.jsonl"), "scores")
    details = _by_row(reader.lines(record.folder / f"details-{table.name}.jsonl"), "details")
    replies = _by_row(reader.lines(record.folder / f"replies-{table.name}.jsonl"), "replies")
    models = list(lines[0].get("predictions", {}))
    against = str(table.against if table.against in models else models[0])
    others = [name for name in models if name != against and name not in table.baselines]
    model, metric = str(others[-1] if others else against), table.headline
    gains = _gains(scores, model, against, metric) if metric else {}
    groups = choose([int(line["row"]) for line in lines], gains, seed)
    by_row = {int(line["row"]): line for line in lines}
    chosen = [
        _example(
            by_row[row],
            group,
            scores=scores.get(row, {}),
            details=details.get(row, {}),
            replies=replies.get(row, {}),
            leave_out=table.baselines,
        )
        for row, group in groups.items()
    ]
    return Examples(table, len(lines), chosen, metric if gains else None, model, against, seed)


def choose(rows: list[int], gains: Mapping[int, float], seed: int) -> dict[int, Group]:
    """The largest gains, the largest losses, then a seeded sample of the rest, 30 in all."""
    ranked = sorted((row for row in rows if row in gains), key=lambda row: (-gains[row], row))
    chosen: dict[int, Group] = {row: "win" for row in ranked[:EACH] if gains[row] > 0}
    last = sorted(ranked, key=lambda row: (gains[row], row))[:EACH]
    chosen |= {row: "loss" for row in last if gains[row] < 0}
    rest = [row for row in rows if row not in chosen]
    number = min(3 * EACH - len(chosen), len(rest))
    return chosen | dict.fromkeys(sorted(random.Random(seed).sample(rest, number)), "sample")


def _gains(scores: Mapping[int, Any], model: str, against: str, metric: Metric) -> dict[int, float]:
    """How much better the model is on each row."""
    found: dict[int, float] = {}
    for row, by_model in scores.items():
        ours, theirs = (by_model.get(each, {}).get(metric.name) for each in (model, against))
        if isinstance(ours, int | float) and isinstance(theirs, int | float):
            found[row] = metric.sign * (ours - theirs)
    return found


def _by_row(lines: list[dict[str, Any]], name: str) -> dict[int, Any]:
    return {int(line["row"]): line[name] for line in lines if "row" in line and name in line}


def _example(
    line: Mapping[str, Any],
    group: Group,
    *,
    scores: Mapping[str, Any],
    details: Mapping[str, Any],
    replies: Mapping[str, Any],
    leave_out: Sequence[str],
) -> Example:
    references = [str(each) for each in line.get("references", [])]
    target = references[0][:LONGEST] if references else ""
    queries = details.get("models", {})
    by_text: dict[str, list[str]] = {}
    for model, text in line.get("predictions", {}).items():
        if model in leave_out:
            continue
        by_text.setdefault(str(text), []).append(model)
    answers = [
        Answer(
            models=models,
            pieces=marked(text[:LONGEST], target),
            lost=max(0, len(text) - LONGEST),
            scores=scores.get(models[0], {}),
            query=_query(queries.get(models[0])),
            judged=[str(given[-1])[:LONGEST] for given in replies.get(models[-1], []) if given],
        )
        for text, models in by_text.items()
    ]
    prompt = str(line.get("prompt", ""))
    return Example(
        row=int(line["row"]),
        group=group,
        prompt=prompt[:LONGEST],
        prompt_lost=max(0, len(prompt) - LONGEST),
        references=[each[:LONGEST] for each in references],
        answers=answers,
        gold=_query(details.get("gold")),
    )


def _query(found: Mapping[str, Any] | None) -> Query | None:
    if not found:
        return None
    rows = found.get("rows") or []
    return Query(
        columns=list(found.get("columns") or []),
        rows=[list(row) for row in rows[:MOST_ROWS]],
        row_count=int(found.get("row_count") or len(rows)),
        error=str(found.get("error") or ""),
        verdict=str(found.get("verdict") or ""),
    )
