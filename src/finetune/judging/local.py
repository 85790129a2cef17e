"""A judge on this machine: any chat model that transformers opens, asked greedily."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from finetune.data.shorten import render, shorten
from finetune.judging.cache import Messages
from finetune.models.generate import generate
from finetune.models.load import context_length, free_memory, open_base
from finetune.models.tokenizers import load_tokenizer, source
from finetune.recipe.judging import Judge
from finetune.recipe.types import base_of

AT_ONCE = 16  # batches between two times that replies are kept


class Local:
    """Opens the model when there is something to ask, and lets it go."""

    def __init__(self, judge: Judge, batch_size: int) -> None:
        self.judge, self.base, self.batch_size = judge, base_of(judge), batch_size
        self.shortened = 0  # questions that lost their middle to fit `room` tokens
        self.room: int | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Who is asked and how: of a folder, its files by size and time of change."""
        folder = Path(source(self.base))
        files = sorted(folder.glob("*")) if folder.is_dir() else []
        stats = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        return {**vars(self.base), "files": stats, "max_tokens": self.judge.max_tokens}

    def replies(self, asked: Sequence[Messages], title: str) -> Iterator[tuple[int, str]]:
        """(index, reply) of each, a few batches at a time."""
        tokenizer, _ = load_tokenizer(self.base)
        model = open_base(self.base)
        try:
            context = context_length(model)
            self.room = max(16, context - self.judge.max_tokens) if context else None
            for start in range(0, len(asked), AT_ONCE * self.batch_size):
                part = asked[start : start + AT_ONCE * self.batch_size]
                answers = generate(
                    model,
                    tokenizer,
                    [self._prompt(tokenizer, messages) for messages in part],
                    settings={"max_new_tokens": self.judge.max_tokens},
                    batch_size=self.batch_size,
                    title=title,
                )
                for index, answer in enumerate(answers, start=start):
                    yield index, answer.text
        finally:
            del model
            free_memory()

    def _prompt(self, tokenizer: Any, messages: Messages) -> list[int]:
        fitted, short = shorten(tokenizer, list(messages), self.room, answer_follows=True)
        self.shortened += short
        return render(tokenizer, fitted, answer_follows=True)
