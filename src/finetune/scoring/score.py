"""All scores of an evaluation from what its models wrote: files in, files out, no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError
from finetune.metrics.lengths import counting
from finetune.recipe.types import Score
from finetune.scoring import files, harness
from finetune.scoring.compare import by_group, compare
from finetune.tasks import scored
from finetune.tasks.base import Metric
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
            **compare(task.rows, task.metrics, seed, task.baselines),
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


def _scored(score: Score, folder: Path) -> Scored:
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
