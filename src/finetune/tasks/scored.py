"""Every task that a recipe can score models on: by what they write, or by likelihoods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from finetune.data.locate import locate
from finetune.data.rows import need, read
from finetune.errors import DataError
from finetune.recipe.types import Data, Score
from finetune.tasks import TASKS, chosen_metrics
from finetune.tasks.base import Metric, Row, Task
from finetune.tasks.generic import DEFAULT, Generic
from finetune.tasks.likely import LikelyTask
from finetune.tasks.loss import Loss
from finetune.tasks.perplexity import Perplexity
from finetune.tasks.preference import Preference

LIKELY: dict[str, LikelyTask] = {task.name: task for task in (Loss(), Perplexity(), Preference())}
TRAIN = "train"
STOPPED = Metric("stopped", "neither")  # of all answers that a model wrote


def version(name: str) -> int | None:
    """The version of one of our tasks."""
    if name == Generic.name:
        return Generic.version
    task = TASKS.get(name) or LIKELY.get(name)
    return task.version if task else None


def metric_names(score: Score) -> tuple[str, ...] | None:
    """The metrics that a score is known to have; None where only scoring tells."""
    if score.task in LIKELY:
        return tuple(metric.name for metric in LIKELY[score.task].metrics)
    if not is_written(score) or any(chosen_metrics.files(name) for name in score.metrics):
        return None
    return (*(metric.name for metric in written(score).metrics), STOPPED.name)


def is_written(score: Score) -> bool:
    """Whether models answer prompts in this task."""
    return score.task in TASKS or score.task == Generic.name


def written(score: Score) -> Task:
    """The task of a score that `is_written`."""
    return TASKS.get(score.task) or Generic(score.metrics or DEFAULT)


def rows(score: Score) -> list[Row]:
    """The rows to answer, prepared and known to be scorable.

    Raises:
        DataError: they cannot be read, or lack what the task needs.
    """
    task, data = written(score), _data(score)
    found = task.prepare(read(data)[: score.rows], data)
    need(found, task.needs, data)
    task.check(found)
    return found


def training_rows(score: Score) -> Sequence[Row]:
    """Rows of the training split that stands beside the rows to answer; none where none does."""
    task, data = written(score), replace(_data(score), split=TRAIN, rows=None)
    try:
        files = locate(data).files
        if any(not file.name.startswith(TRAIN) for file in files):
            return []
        return task.prepare(read(data), data)
    except DataError:
        return []


def _data(score: Score) -> Data:
    return score.data or Data(task=score.task, split="test")  # type: ignore[arg-type]
