"""Every task that a recipe can score models on: by what they write, or by likelihoods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from finetune.data.examples import Examples
from finetune.data.locate import TRAIN, locate
from finetune.errors import DataError, FinetuneError
from finetune.recipe.judging import resolved
from finetune.recipe.types import Data, Score
from finetune.tasks import TASKS, chosen_metrics, rubrics
from finetune.tasks.base import Metric, Row, Task
from finetune.tasks.examples import task_rows
from finetune.tasks.generic import DEFAULT, Generic
from finetune.tasks.judged import Judged
from finetune.tasks.likely import LikelyTask
from finetune.tasks.loss import Loss
from finetune.tasks.perplexity import Perplexity
from finetune.tasks.preference import Preference
from finetune.tasks.text_to_sql import TextToSql

LIKELY: dict[str, LikelyTask] = {task.name: task for task in (Loss(), Perplexity(), Preference())}
TASK_FILES = {".yaml", ".yml", ".py", ".json", ".jsonl"}
STOPPED = Metric("stopped", "neither")  # of all answers that a model wrote


def version(name: str) -> int | None:
    """The version of one of our tasks."""
    for own in (Generic, Judged):
        if name == own.name:
            return own.version
    task = TASKS.get(name) or LIKELY.get(name)
    return task.version if task else None


def metric_names(score: Score) -> tuple[str, ...] | None:
    """The metrics that a score is known to have; None where only scoring tells."""
    if score.task in LIKELY:
        return tuple(metric.name for metric in LIKELY[score.task].metrics)
    if not is_written(score) or any(chosen_metrics.files(name) for name in score.metrics):
        return None
    own = written(score)
    if isinstance(own, Judged):
        metrics = (*rubrics.metrics(own.rubric), rubrics.MALFORMED)
    else:
        metrics = own.metrics
    return (*(metric.name for metric in metrics), STOPPED.name)


def is_written(score: Score) -> bool:
    """Whether models answer prompts in this task."""
    return score.task in TASKS or score.task in {Generic.name, Judged.name}


def is_foreign(score: Score) -> bool:
    """Whether lm-evaluation-harness has the task, not we."""
    return not is_written(score) and score.task not in LIKELY


def written(score: Score) -> Task:
    """The task of a score that `is_written`."""
    if score.task == TextToSql.name and score.suite:
        return TextToSql(score.suite)
    if score.task == Judged.name and score.rubric:
        return Judged(rubric=resolved(score.rubric))
    return TASKS.get(score.task) or Generic(score.metrics or DEFAULT)


def examples(score: Score) -> Examples[Row]:
    """The rows that a task of writing reads, prepared.

    Raises:
        DataError: they cannot be read, or lack what the task needs.
    """
    return task_rows(data(score), written(score))


def rows(score: Score, found: Examples[Row]) -> list[Row]:
    """Those of its `examples` that are to be answered, known to be scorable.

    Raises:
        DataError: a row could not be scored.
    """
    asked = list(found[: score.rows])
    written(score).check(asked)
    return asked


def code(score: Score) -> list[Path]:
    """Files from outside that decide what a score is: modules of metrics, tasks of the harness.

    Raises:
        FinetuneError: one is not there.
    """
    found = [file for name in score.metrics for file in chosen_metrics.files(name)]
    for name in score.metrics:
        chosen_metrics.check(name)
    if score.include_path is None:
        return found
    folder = Path(score.include_path).expanduser().resolve()
    files = [file for file in sorted(folder.rglob("*")) if file.suffix in TASK_FILES]
    if not files:
        raise FinetuneError(
            "no task files lie there",
            where=f"include_path: {score.include_path}",
            remedy="Give the folder that holds your task's YAML file.",
        )
    return found + files


def training_rows(score: Score) -> Sequence[Row]:
    """Rows of the training split that stands beside the rows to answer; none where none does."""
    beside = replace(data(score), split=TRAIN, rows=None, on_bad_row="skip")
    try:
        files = locate(beside).files
        if any(not file.name.startswith(TRAIN) for file in files):
            return []
        return list(task_rows(beside, written(score)))
    except DataError:
        return []


def data(score: Score) -> Data:
    """Where the rows of a written task lie: by default its own test split."""
    return score.data or Data(task=score.task, split="test")  # type: ignore[arg-type]
