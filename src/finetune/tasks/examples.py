"""The rows that a recipe's `data` speaks of, in the form a trainer learns from.

With `data.task` the task words the prompt and the answer; otherwise columns and values tell what
rows mean, and the layouts of the tasks are among those they are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, TypeVar

from finetune.data.documents import Row
from finetune.data.examples import (
    BadRow,
    Conversation,
    Examples,
    Message,
    Pair,
    Prompt,
    Text,
    Unpaired,
)
from finetune.data.layouts import LAYOUTS, TEXTS, Layout
from finetune.data.messages import as_messages, assistant, text
from finetune.data.preferences import pair
from finetune.data.reading import read
from finetune.errors import DataError
from finetune.recipe.types import Data, Rows
from finetune.tasks import TASKS, Task

T = TypeVar("T")


def conversations(data: Data) -> Examples[Conversation]:
    """Conversations for supervised training; of preference pairs, the chosen answer.

    Raises:
        DataError: rows cannot be read or understood.
    """
    return _read(data, Conversation)


def pairs(data: Data) -> Examples[Pair]:
    """Preference pairs.

    Raises:
        DataError: rows cannot be read or understood.
    """
    return _read(data, Pair)


def texts(data: Data) -> Examples[Text]:
    """Plain texts for next-token training.

    Raises:
        DataError: rows cannot be read or have no text.
    """
    return _read(data, Text)


def unpaired(data: Data) -> Examples[Unpaired]:
    """Answers labelled good or bad; of preference pairs, both.

    Raises:
        DataError: rows cannot be read or understood.
    """
    return _read(data, Unpaired)


def prompts(data: Data) -> Examples[Prompt]:
    """Prompts alone; of conversations, what stands before their last answer.

    Raises:
        DataError: rows cannot be read or understood.
    """
    return _read(data, Prompt)


def task_rows(data: Data, task: Task) -> Examples[Row]:
    """The task's own rows, prepared, for prompting and scoring.

    Raises:
        DataError: rows cannot be read, or lack what the task needs.
    """
    return read(data, dict, lambda rows: [_whole(task, rows)])


def _read(data: Data, kind: type[T]) -> Examples[T]:
    return read(data, kind, _layouts)


def _layouts(rows: Rows) -> Sequence[Layout]:
    """Those of the task that is named; else all, in which no prompt alone names a task."""
    if rows.task is not None:
        task = TASKS[rows.task]
        return [_answered(task, rows), _preferred(task, rows), _prompt_alone(task, rows)]
    if rows.format is not None:
        return LAYOUTS
    return [*LAYOUTS, *(make(task, rows) for task in TASKS.values() for make in ON_THEIR_OWN)]


def _answered(task: Task, rows: Rows) -> Layout:
    def read_row(row: Row) -> Conversation:
        return Conversation([*_prompt(task, task.needs, row), assistant(task.answer(row))])

    return _layout(task, rows, Conversation, task.needs, read_row)


def _preferred(task: Task, rows: Rows) -> Layout:
    def read_row(row: Row) -> Pair:
        before = _prompt(task, task.prompt_needs, row)
        return pair({**row, "prompt": before}, "prompt")

    needs = (*task.prompt_needs, "chosen", "rejected")
    return _layout(task, rows, Pair, needs, read_row)


def _prompt_alone(task: Task, rows: Rows) -> Layout:
    def read_row(row: Row) -> Prompt:
        return Prompt(_prompt(task, task.prompt_needs, row))

    return _layout(task, rows, Prompt, task.prompt_needs, read_row)


def _whole(task: Task, rows: Rows) -> Layout:
    def read_row(row: Row) -> Row:
        there = [name for name, value in row.items() if value not in (None, "", [])]
        if missing := [name for name in task.needs if name not in there]:
            raise BadRow(f"{missing[0]!r} is missing or empty; here are: {', '.join(there)}")
        return row

    return _layout(task, rows, dict, task.needs, read_row)


WHAT = {Pair: ", preference pairs", Prompt: ", prompts"}
ON_THEIR_OWN = (_answered, _preferred)


def _layout(
    task: Task,
    rows: Rows,
    kind: type,
    needs: Sequence[str],
    read_row: Callable[[Row], Any],
) -> Layout:
    title = f"rows of the task {task.name}{WHAT.get(kind, '')}"
    prepare = partial(_prepared, task, _data(task, rows))
    return Layout(task.name, title, kind, dict.fromkeys(needs, TEXTS), read_row, (), prepare)


def _prompt(task: Task, needed: Sequence[str], row: Row) -> list[Message]:
    for column in needed:
        text(row, column)
    try:
        return as_messages(task.prompt(row), "user")
    except DataError as error:
        raise BadRow(error.what) from error


def _data(task: Task, rows: Rows) -> Data:
    """The source in the words that a task's `prepare` takes."""
    named = {field.name: getattr(rows, field.name) for field in fields(Rows)}
    return Data(**{**named, "task": task.name})


def _prepared(task: Task, data: Data, rows: list[Row]) -> list[Row | str]:
    """Each row prepared, or what is wrong with it; halves are tried until the bad ones are found.

    A task prepares rows together, since it looks for what lies beside them.
    """
    try:
        return list(task.prepare(rows, data))
    except DataError as error:
        if len(rows) == 1:
            return [error.what]
    half = len(rows) // 2
    return _prepared(task, data, rows[:half]) + _prepared(task, data, rows[half:])
