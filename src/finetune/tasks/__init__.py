"""Tasks: each one's prompt, answer and score, for training, evaluation and reward alike."""

from __future__ import annotations

from finetune.tasks.base import Metric, Row, Task
from finetune.tasks.samsum import Samsum
from finetune.tasks.text_to_sql import TextToSql

TASKS: dict[str, Task] = {"samsum": Samsum(), "text_to_sql": TextToSql()}

__all__ = ["TASKS", "Metric", "Row", "Task"]
