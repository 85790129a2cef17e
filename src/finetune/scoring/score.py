"""All scores of an evaluation from what its models wrote: files in, files out, no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError
from finetune.metrics.lengths import counting
from finetune.recipe.types import Score
from finetune.scoring import files, harness, judged
from finetune.scoring.compare import by_group, compare
from finetune.tasks import rubrics, scored
from finetune.tasks.base import Metric
from finetune.tasks.judged import Judged
from finetune.tasks.likely import Likelihood
from finetune.tasks.scored import STOPPED

RowScores = list[dict[str, float]]


@dataclass(frozen=True)
class Scored:
    """One task: the scores of each row by model, and what they are."""

    rows: dict[str, RowScores]
    metrics: tuple[Metric, ...]
    baselines: tuple[str, ...] = ()
    details: Sequence[dict[str, Any]] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    partial: tuple[Metric, ...] = ()  # of rows with a verdict alone
    against: str = ""  # the model that the others are compared with; empty: the first


def score(folder: Path) -> dict[str, Any]:
    """Write the scores, details and comparison of the evaluation in `folder`; the comparison.

    Raises:
        FinetuneError: a file is missing, or the rows are others than those that were answered.
    """
    stage, seed = files.read_settings(folder)
    found = {}
    for each in stage.tasks:
        if scored.is_foreign(each):
            found[each.name] = harness.compared(each, folder, seed)
            continue
        task = _scored(each, folder)
        _write_scores(folder / f"scores-{each.name}.jsonl", task.rows)
        if task.details:
            lines = ({"details": each} for each in task.details)
            files.write_lines(folder / f"details-{each.name}.jsonl", lines)
        found[each.name] = {
            **_compared(task, seed),
            "groups": by_group(task.rows, task.metrics, task.groups),
        }
    files.write_object(folder / files.COMPARISON, found)
    return found


def means(comparison: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """{model: {"task metric": mean}} of a comparison."""
    found: dict[str, dict[str, float]] = {}
    for task, part in comparison.items():
        for model, metrics in part["models"].items():
            numbers = {f"{task} {name}": each["mean"] for name, each in metrics.items()}
            found.setdefault(model, {}).update(numbers)
    return found


def prompt_text(prompt: str | list[dict[str, str]]) -> str:
    """A prompt as one text for people to read."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{each['role']}: {each['content']}" for each in prompt)


def _compared(task: Scored, seed: int) -> dict[str, Any]:
    """The comparison on all rows, and of what only some rows have, on those alone."""
    every = compare(task.rows, task.metrics, seed, task.baselines, task.against)
    names = {metric.name for metric in task.partial}
    known = [
        number
        for number in range(every["rows"])
        if any(names & rows[number].keys() for rows in task.rows.values())
    ]
    if not known:
        return every
    rows = {model: [own[number] for number in known] for model, own in task.rows.items()}
    some = compare(rows, task.partial, seed, task.baselines, task.against)
    return {
        **every,
        "models": _beside(some["models"], every["models"]),
        "pairs": _beside(some["pairs"], every["pairs"]),
        "metrics": [*some["metrics"], *every["metrics"]],
        "judged_rows": len(known),
    }


def _beside(some: Mapping[str, Any], every: Mapping[str, Any]) -> dict[str, Any]:
    """Two tables of the same models, side by side."""
    return {name: {**some.get(name, {}), **every.get(name, {})} for name in {**every, **some}}


def _scored(score: Score, folder: Path) -> Scored:
    if score.task == Judged.name:
        return _judged(score, folder)
    if scored.is_written(score):
        return _written(score, folder)
    return _likely(score, folder)


def _written(score: Score, folder: Path) -> Scored:
    task, rows = scored.written(score), scored.rows(score, scored.examples(score))
    path = folder / f"predictions-{score.name}.jsonl"
    lines = files.read_lines(path)
    if [each["prompt"] for each in lines] != [prompt_text(task.prompt(row)) for row in rows]:
        raise FinetuneError(
            "the rows are others than those that were answered",
            where=str(path),
            remedy="Put the data back as it was, or run the stage again.",
        )
    found: dict[str, RowScores] = {}
    answers = {
        model: [line["predictions"][model] for line in lines] for model in lines[0]["predictions"]
    }
    for model, predictions in answers.items():
        found[model] = [dict(each) for each in task.score_rows(predictions, rows)]
        if model in lines[0]["stopped"]:
            ended = counting.score_rows(predictions, [line["stopped"][model] for line in lines])
            for mine, new in zip(found[model], ended, strict=True):
                mine[STOPPED.name] = new[STOPPED.name]
    models = set(lines[0]["stopped"])
    baselines = tuple(name for name in found if name not in models)
    return Scored(
        found,
        _announced((*task.metrics, STOPPED), found),
        baselines,
        task.details(answers, rows),
        task.groups(rows),
    )


def _judged(score: Score, folder: Path) -> Scored:
    answers = _written(score, folder)
    said = judged.judged(score, folder, list(answers.rows))
    rows = {
        model: [{**new, **mine} for new, mine in zip(said[model], own, strict=True)]
        for model, own in answers.rows.items()
    }
    return replace(
        answers,
        rows=rows,
        metrics=(rubrics.MALFORMED, *answers.metrics),
        partial=judged.metrics(score),
        against=score.against or "",
    )


def _announced(metrics: Sequence[Metric], found: Mapping[str, RowScores]) -> tuple[Metric, ...]:
    """The task's metrics, and those that modules from outside have named."""
    known = {metric.name for metric in metrics}
    names = dict.fromkeys(name for rows in found.values() for name in rows[0])
    return (*metrics, *(Metric(name, "neither", "") for name in names if name not in known))


def _likely(score: Score, folder: Path) -> Scored:
    task = scored.LIKELY[score.task]
    lines = files.read_lines(folder / f"likelihoods-{score.name}.jsonl")
    found: dict[str, RowScores] = {}
    for model in lines[0]["likelihoods"]:
        has_reference = score.reference in lines[0]["likelihoods"] and score.reference != model
        found[model] = [
            task.score(
                _likelihoods(line, model),
                _likelihoods(line, str(score.reference)) if has_reference else None,
                line["counts"],
            )
            for line in lines
        ]
    return Scored(found, task.metrics)


def _likelihoods(line: Mapping[str, Any], model: str) -> tuple[Likelihood, ...]:
    return tuple(Likelihood(*each) for each in line["likelihoods"][model])


def _write_scores(path: Path, found: Mapping[str, RowScores]) -> None:
    count = len(next(iter(found.values())))
    files.write_lines(
        path,
        (
            {"scores": {model: rows[number] for model, rows in found.items()}}
            for number in range(count)
        ),
    )
