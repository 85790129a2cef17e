"""The rows that a recipe's `data` speaks of, in the form a trainer learns from.

With `data.task` the task words the prompt and the answer; otherwise the columns tell.
"""

from __future__ import annotations

from finetune.data import formats
from finetune.data.formats import Conversation, Pair
from finetune.data.rows import need, read
from finetune.recipe.types import Data
from finetune.tasks import TASKS


def conversations(data: Data) -> list[Conversation]:
    """Conversations for supervised training.

    Raises:
        DataError: rows cannot be read or understood.
    """
    rows = read(data)
    if data.task is None:
        return formats.conversations(rows, data)
    task = TASKS[data.task]
    rows = task.prepare(rows, data)
    need(rows, task.needs, data)
    return [formats.turn(task.prompt(row), task.answer(row)) for row in rows]


def pairs(data: Data) -> list[Pair]:
    """Preference pairs; with `data.task` the task words the prompt from its own columns.

    Raises:
        DataError: rows cannot be read or understood.
    """
    rows = read(data)
    if data.task is None:
        return formats.pairs(rows, data, lambda row: row["prompt"], ("prompt",))
    task = TASKS[data.task]
    return formats.pairs(task.prepare(rows, data), data, task.prompt, task.prompt_needs)


def texts(data: Data) -> list[str]:
    """Plain texts for next-token training.

    Raises:
        DataError: rows cannot be read or have no `text`.
    """
    return formats.texts(read(data), data)
