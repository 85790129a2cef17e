"""What models write, and how likely they find given texts, put into files for scoring.

Each measurer reads its rows once, measures one model at a time, and writes when all are measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from accelerate.utils import gather_object

from finetune.data.examples import Conversation, Examples
from finetune.data.messages import as_messages
from finetune.data.shorten import render, shorten, shortened_note
from finetune.data.tokens import Encoded, encode
from finetune.errors import FinetuneError
from finetune.models.generate import Answer, effective, generate
from finetune.models.likelihood import likelihoods, windows
from finetune.models.load import context_length
from finetune.ranks import rank, world_size
from finetune.recipe.types import Data, Evaluate, Score
from finetune.scoring import files
from finetune.scoring.score import prompt_text
from finetune.tasks import scored
from finetune.tasks.base import Row
from finetune.tasks.likely import Likelihood

LONGEST_WINDOW = 2048  # of a model whose config names no bound, such as one with ALiBi


class Measurer(Protocol):
    """One task over one set of rows."""

    score: Score
    data: Data | None  # None where the rows are not ours to read
    examples: Examples[Any] | None
    notes: list[str]
    facts: dict[str, Any]

    def measure(self, name: str, model: Any, tokenizer: Any) -> None:
        """Take what is needed of one model."""

    def write(self, folder: Path, names: Sequence[str]) -> None:
        """Put what was measured of all models into `folder`, in the order of `names`."""


def spread(items: Sequence[Any]) -> list[Any]:
    """This rank's share: every so-manieth item."""
    return list(items[rank() :: world_size()])


def gathered(share: Sequence[Any]) -> list[Any]:
    """The shares of all ranks put back in order."""
    if world_size() == 1:
        return list(share)
    flat = gather_object([(rank(), index, item) for index, item in enumerate(share)])
    return [item for _, _, item in sorted(flat, key=lambda each: (each[1], each[0]))]


class Written:
    """What a model writes after each prompt."""

    def __init__(self, score: Score, stage: Evaluate) -> None:
        self.score, self.stage = score, stage
        self.task = scored.written(score)
        examples = scored.examples(score)
        self.data: Data | None = scored.data(score)
        self.examples: Examples[Any] | None = examples
        self.rows: list[Row] = scored.rows(score, examples)
        self.notes: list[str] = []
        self.facts: dict[str, Any] = {}
        self.answers: dict[str, list[Answer]] = {}

    def measure(self, name: str, model: Any, tokenizer: Any) -> None:
        """Write an answer to each prompt."""
        settings = {"max_new_tokens": self.task.max_new_tokens, **self.stage.generation}
        self.facts[f"{self.score.name}_generation"] = effective(tokenizer, settings)
        context = context_length(model)
        room = max(16, context - settings["max_new_tokens"]) if context else None
        prompts = [self._prompt(tokenizer, row, room) for row in self.rows]
        self.notes += shortened_note(sum(short for _, short in prompts), len(prompts), room)
        answers = generate(
            model,
            tokenizer,
            spread([prompt for prompt, _ in prompts]),
            settings=settings,
            batch_size=self.stage.batch_size,
            title=f"{self.score.name}, {name}",
        )
        self.answers[name] = gathered(answers)

    def write(self, folder: Path, names: Sequence[str]) -> None:
        """Predictions of the models, and of the baselines that cost no model."""
        free = self.task.baselines(scored.training_rows(self.score), self.rows)
        baselines = {name: texts for name, texts in free.items() if any(texts)}
        lines = (
            {
                "prompt": prompt_text(self.task.prompt(row)),
                "references": self.task.references(row),
                "predictions": {
                    **{name: self.answers[name][number].text for name in names},
                    **{name: texts[number] for name, texts in baselines.items()},
                },
                "tokens": {name: self.answers[name][number].tokens for name in names},
                "stopped": {name: self.answers[name][number].stopped for name in names},
            }
            for number, row in enumerate(self.rows)
        )
        files.write_lines(folder / f"predictions-{self.score.name}.jsonl", lines)

    def _prompt(self, tokenizer: Any, row: Row, room: int | None) -> tuple[list[int], bool]:
        messages = as_messages(self.task.prompt(row), "user")
        fitted, shortened = shorten(tokenizer, messages, room, answer_follows=True)
        return render(tokenizer, fitted, answer_follows=True), shortened


class Likely:
    """How likely a model finds given answers or texts."""

    def __init__(self, score: Score, stage: Evaluate) -> None:
        if score.data is None:
            raise FinetuneError(
                f"the task {score.task!r} needs `data`", where=f"{stage.name}.tasks"
            )
        self.score, self.stage = score, stage
        self.task = scored.LIKELY[score.task]
        examples = self.task.examples(score.data)
        self.data: Data | None = score.data
        self.examples: Examples[Any] | None = examples
        self.items = [self.task.item(each) for each in examples[: score.rows]]
        self.notes: list[str] = []
        self.facts: dict[str, Any] = {}
        self.found: dict[str, list[list[Likelihood]]] = {}

    def measure(self, name: str, model: Any, tokenizer: Any) -> None:
        """Likelihood of everything in each row."""
        limit = context_length(model)
        talks = [text for item in self.items for text in item if isinstance(text, Conversation)]
        encoded = iter(encode(tokenizer, talks, limit))
        parts = [
            (number, place, row)
            for number, item in enumerate(self.items)
            for place, text in enumerate(item)
            for row in (
                [next(encoded)]
                if isinstance(text, Conversation)
                else self._windows(tokenizer, text, limit)
            )
        ]
        rows = [row for _, _, row in parts]
        self.notes += shortened_note(sum(row.shortened for row in rows), len(rows), limit)
        title = f"{self.score.name}, {name}"
        values = gathered(likelihoods(model, spread(rows), self.stage.batch_size, title))
        found = [[Likelihood(0.0, 0)] * len(item) for item in self.items]
        for (number, place, _), value in zip(parts, values, strict=True):
            before = found[number][place]
            found[number][place] = Likelihood(
                before.logprob + value.logprob, before.tokens + value.tokens
            )
        self.found[name] = found

    def write(self, folder: Path, names: Sequence[str]) -> None:
        """Likelihoods of the models."""
        lines = (
            {
                "counts": self.task.counts(item),
                "likelihoods": {
                    name: [[each.logprob, each.tokens] for each in self.found[name][number]]
                    for name in names
                },
            }
            for number, item in enumerate(self.items)
        )
        files.write_lines(folder / f"likelihoods-{self.score.name}.jsonl", lines)

    def _windows(self, tokenizer: Any, text: str, limit: int | None) -> list[Encoded]:
        wanted = self.score.max_length or min(limit or LONGEST_WINDOW, LONGEST_WINDOW)
        longest = min(wanted, limit or wanted)
        if longest < wanted:
            self.notes.append(f"windows of {longest} tokens: the model takes no more")
        stride = min(self.score.stride or longest // 2, longest - 1)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        prefix = tokenizer.bos_token_id
        return windows(ids, tokenizer.eos_token_id if prefix is None else prefix, longest, stride)
