"""The ways a model is scored: by what it writes, and by how likely it finds given answers.

Each scorer reads its rows once, measures one model at a time, and turns the measurements of all
models into numbers at the end, since some need another model to compare with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from accelerate.utils import gather_object

from finetune.data.formats import Conversation, Message
from finetune.data.rows import Row, need, read
from finetune.data.tokens import Encoded, encode, render, shorten, shortened_note
from finetune.errors import FinetuneError
from finetune.models.generate import generate
from finetune.models.likelihood import Likelihood, likelihoods
from finetune.models.load import context_length
from finetune.ranks import is_main, rank, world_size
from finetune.recipe.types import Data, Evaluate, Score
from finetune.tasks import TASKS
from finetune.tasks.examples import conversations, pairs

Numbers = dict[str, dict[str, float]]  # model -> metric -> value


class Scorer(Protocol):
    """One task over one set of rows."""

    notes: list[str]

    def measure(self, name: str, model: Any, tokenizer: Any) -> None:
        """Take what is needed of one model."""

    def numbers(self) -> Numbers:
        """Metrics of all models measured."""


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
    """What a model writes after each prompt, scored by a task's metrics."""

    def __init__(self, score: Score, stage: Evaluate, out: Path) -> None:
        assert score.task in TASKS
        self.score, self.stage, self.out = score, stage, out
        self.task = TASKS[score.task]
        data = score.data or Data(task=score.task, split="test")  # type: ignore[arg-type]
        self.rows: list[Row] = self.task.prepare(read(data)[: score.rows], data)
        need(self.rows, self.task.needs, data)
        self.task.check(self.rows)
        self.notes: list[str] = []
        self.predictions: dict[str, list[str]] = {}

    def measure(self, name: str, model: Any, tokenizer: Any) -> None:
        """Write an answer to each prompt."""
        settings = {"max_new_tokens": self.task.max_new_tokens, **self.stage.generation}
        context = context_length(model)
        room = max(16, context - settings["max_new_tokens"]) if context else None
        prompts = [self._prompt(tokenizer, row, room) for row in self.rows]
        self.notes += shortened_note(sum(short for _, short in prompts), len(prompts), room)
        title = f"{self.score.name or self.score.task}, {name}"
        ids = spread([prompt for prompt, _ in prompts])
        answers = generate(
            model,
            tokenizer,
            ids,
            settings=settings,
            batch_size=self.stage.batch_size,
            title=title,
        )
        self.predictions[name] = gathered(answers)

    def numbers(self) -> Numbers:
        """The task's metrics; predictions are on disk before any is computed."""
        if is_main():
            self._write()
        return {
            name: self.task.score(answers, self.rows) for name, answers in self.predictions.items()
        }

    def _prompt(self, tokenizer: Any, row: Row, room: int | None) -> tuple[list[int], bool]:
        messages: list[Message] = [{"role": "user", "content": self.task.prompt(row)}]
        fitted, shortened = shorten(tokenizer, messages, room, answer_follows=True)
        return render(tokenizer, fitted, answer_follows=True), shortened

    def _write(self) -> None:
        name = self.score.name or self.score.task
        with (self.out / f"predictions-{name}.jsonl").open("w", encoding="utf-8") as file:
            for number, row in enumerate(self.rows):
                record = {
                    "row": number,
                    "prompt": self.task.prompt(row),
                    "references": self.task.references(row),
                    "predictions": {
                        model: answers[number] for model, answers in self.predictions.items()
                    },
                }
                file.write(json.dumps(record, ensure_ascii=False) + "\n")


class HeldOutLoss:
    """Mean negative log-likelihood (nats) per token of the answers in held-out rows."""

    def __init__(self, score: Score, stage: Evaluate) -> None:
        if score.data is None:
            raise FinetuneError("the task 'loss' needs `data`", where=f"{stage.name}.tasks")
        self.score, self.stage = score, stage
        self.rows = conversations(score.data)[: score.rows]
        self.notes: list[str] = []
        self.found: dict[str, list[Likelihood]] = {}

    def measure(self, name: str, model: Any, tokenizer: Any) -> None:
        """Likelihood of each answer."""
        limit = context_length(model)
        rows = [encode(tokenizer, row, limit) for row in self.rows]
        self.notes += shortened_note(sum(row.shortened for row in rows), len(rows), limit)
        title = f"{self.score.name or 'loss'}, {name}"
        found = likelihoods(model, spread(rows), self.stage.batch_size, title)
        self.found[name] = gathered(found)

    def numbers(self) -> Numbers:
        """Loss over all tokens of all rows, so that long answers weigh more."""
        return {
            name: {"loss": -sum(r.logprob for r in rows) / max(1, sum(r.tokens for r in rows))}
            for name, rows in self.found.items()
        }


class Preference:
    """In how many pairs (percent) a model prefers the chosen answer.

    `preferred` compares log-probability per token. `reward_accuracy` compares the implicit reward
    of DPO: how much more likely the answer is to the model than to the reference.
    """

    def __init__(self, score: Score, stage: Evaluate) -> None:
        if score.data is None:
            raise FinetuneError("the task 'preference' needs `data`", where=f"{stage.name}.tasks")
        self.score, self.stage = score, stage
        rows = pairs(score.data)[: score.rows]
        self.chosen = [_answered(row.prompt, row.chosen) for row in rows]
        self.rejected = [_answered(row.prompt, row.rejected) for row in rows]
        self.notes: list[str] = []
        self.found: dict[str, list[tuple[Likelihood, Likelihood]]] = {}

    def measure(self, name: str, model: Any, tokenizer: Any) -> None:
        """Likelihood of both answers of each pair."""
        limit = context_length(model)
        both = spread(list(zip(self.chosen, self.rejected, strict=True)))
        rows: list[Encoded] = [encode(tokenizer, talk, limit) for pair in both for talk in pair]
        title = f"{self.score.name or 'preference'}, {name}"
        values = likelihoods(model, rows, self.stage.batch_size, title)
        self.found[name] = gathered(list(zip(values[::2], values[1::2], strict=True)))

    def numbers(self) -> Numbers:
        """Shares over all pairs; a tie counts as not preferred."""
        reference = self.found.get(self.score.reference or "")
        return {name: self._of_model(name, found, reference) for name, found in self.found.items()}

    def _of_model(
        self,
        name: str,
        found: list[tuple[Likelihood, Likelihood]],
        reference: list[tuple[Likelihood, Likelihood]] | None,
    ) -> dict[str, float]:
        numbers = {"preferred": _percent([c.per_token > r.per_token for c, r in found])}
        if reference is not None and name != self.score.reference:
            numbers["reward_accuracy"] = _percent(
                [
                    c.logprob - ref_c.logprob > r.logprob - ref_r.logprob
                    for (c, r), (ref_c, ref_r) in zip(found, reference, strict=True)
                ]
            )
        return numbers


def _answered(prompt: list[Message], answer: str) -> Conversation:
    return Conversation([*prompt, {"role": "assistant", "content": answer}])


def _percent(flags: Sequence[bool]) -> float:
    return 100 * sum(flags) / max(1, len(flags))
