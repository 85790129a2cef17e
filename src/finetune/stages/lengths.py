"""How long a stage's rows are, in tokens: of the longest ones exactly, of the others a sample."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune.data.examples import Conversation, Pair, Text
from finetune.data.messages import as_messages
from finetune.data.order import most_together
from finetune.data.pairs import fit, token_ids
from finetune.data.shorten import render
from finetune.data.tokens import encode
from finetune.models.pairs import cannot_share, longest_row, needs_alignment
from finetune.recipe.types import Dpo, Pretrain, Score, Sft
from finetune.tasks import scored
from finetune.tasks.examples import conversations, pairs, texts

MEASURED = 20_000  # rows whose characters are counted, drawn at random where there are more
TOKENISED = 64  # of the longest by characters, and as many of all
Looked = tuple[int, int, int]  # of a row: its tokens, those learnt, those that the model sees


@dataclass(frozen=True)
class Lengths:
    """Tokens of the longest rows, longest first, with those learnt of each.

    `mean` is of all rows: tokens that one sends through the model. `together` is the most that a
    pair sends whose answers share their prompt, or 0.
    """

    longest: tuple[int, ...]
    learnt: tuple[int, ...]
    mean: float
    rows: int
    looked: int
    together: int = 0

    def batch(self, rows: int) -> tuple[int, int]:
        """Longest row, and most learnt tokens of so many rows that are alike in length."""
        return self.longest[0], most_together(self.learnt, rows)

    def longer(self, tokens: int, rows: int) -> Lengths:
        """So many rows, each longer by as many tokens."""
        longest = tuple(each + tokens for each in self.longest)
        return replace(self, longest=longest, mean=self.mean + tokens, rows=rows)


def at_most(limit: int, rows: int = 0) -> Lengths:
    """Of rows that cannot be looked at: as long as they may be, all of it learnt."""
    return Lengths((limit,) * TOKENISED, (limit,) * TOKENISED, float(limit), rows, 0)


def packed(rows: Lengths, limit: int) -> Lengths:
    """Rows put together until `limit` tokens are full."""
    many = math.ceil(rows.rows * rows.mean / limit)
    return replace(at_most(limit, many), looked=rows.looked)


def of_texts(stage: Pretrain, tokenizer: Any) -> Lengths:
    """Of the texts that `pretrain` reads."""

    def look(row: Text) -> Looked:
        size = len(tokenizer(row.text)["input_ids"])
        return size, size, size

    return _lengths(texts(stage.data), lambda row: len(row.text), look)


def of_conversations(stage: Sft, tokenizer: Any, limit: int | None) -> Lengths:
    """Of what `sft` learns."""
    rows = conversations(stage.data)

    def look(row: Conversation) -> Looked:
        (found,) = encode(tokenizer, [row], limit, stage.mask)
        return len(found.input_ids), found.learnt, len(found.input_ids)

    return _lengths(rows, lambda row: _characters(row.messages), look)


def of_pairs(stage: Dpo, tokenizer: Any, limit: int | None, model: Any) -> Lengths:
    """Of DPO's pairs: the longer answer with its prompt, and both answers as learnt.

    `model` tells whether a pair shares its prompt; it needs no numbers.
    """
    rows = pairs(stage.data)
    shared = cannot_share(model, limit or 0) is None
    parts = []

    def look(row: Pair) -> Looked:
        fitted = fit(tokenizer, row, limit)
        _, chosen, rejected = token_ids(tokenizer, fitted.pair)
        length = min(fitted.length, limit or fitted.length)
        parts.append(fitted.parts)
        seen = sum(fitted.parts) if shared else 2 * length
        return fitted.length, len(chosen) + len(rejected), seen  # in order as whole, not as cut

    def size(row: Pair) -> int:
        return _characters([*row.prompt, *row.chosen, *row.rejected])

    found = _lengths(rows, size, look)
    together = longest_row(parts, aligned=needs_alignment(model)) if shared else 0
    longest = tuple(min(each, limit or each) for each in found.longest)
    return replace(found, longest=longest, together=together)


def of_prompts(score: Score, tokenizer: Any) -> Lengths:
    """Of what a task of writing asks."""
    task = scored.written(score)
    rows = scored.rows(score, scored.examples(score))
    prompts = [as_messages(task.prompt(row), "user") for row in rows]

    def look(prompt: Any) -> Looked:
        length = len(render(tokenizer, prompt, answer_follows=True))
        return length, 0, length

    return _lengths(prompts, _characters, look)


def of_answers(score: Score, tokenizer: Any, limit: int | None) -> Lengths:
    """Of the conversations whose likelihood a task measures."""
    assert score.data is not None, "the recipe's checks refuse these tasks without data"
    task = scored.LIKELY[score.task]
    items = [task.item(each) for each in task.examples(score.data)[: score.rows]]
    talks = [each for item in items for each in item if isinstance(each, Conversation)]

    def look(talk: Conversation) -> Looked:
        (found,) = encode(tokenizer, [talk], limit)
        return len(found.input_ids), found.learnt, len(found.input_ids)

    return _lengths(talks, lambda talk: _characters(talk.messages), look)


def _lengths(
    rows: Sequence[Any], size: Callable[[Any], int], look: Callable[[Any], Looked]
) -> Lengths:
    draw = random.Random(0)
    numbers = sorted(draw.sample(range(len(rows)), min(MEASURED, len(rows))))
    by_size = sorted(numbers, key=lambda number: -size(rows[number]))
    longest = sorted((look(rows[number]) for number in by_size[:TOKENISED]), reverse=True)
    some = [look(rows[n]) for n in draw.sample(numbers, min(TOKENISED, len(numbers)))]
    return Lengths(
        tuple(length for length, *_ in longest),
        tuple(learnt for _, learnt, _ in longest),
        sum(seen for *_, seen in some) / len(some),
        len(rows),
        len(set(by_size[:TOKENISED])),
    )


def _characters(messages: Sequence[Any]) -> int:
    return sum(len(str(message.get("content") or "")) for message in messages)
