"""How long a stage's rows are, in tokens: of the longest ones exactly, of the others a sample."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune.data.examples import Conversation, Pair, Text
from finetune.data.messages import as_messages
from finetune.data.pairs import fit, token_ids
from finetune.data.shorten import render
from finetune.data.tokens import encode
from finetune.recipe.types import Dpo, Pretrain, Score, Sft
from finetune.tasks import scored
from finetune.tasks.examples import conversations, pairs, texts

MEASURED = 20_000  # rows whose characters are counted, drawn at random where there are more
TOKENISED = 64  # of the longest by characters, and as many of all


@dataclass(frozen=True)
class Lengths:
    """Tokens of the longest rows, longest first, with those learnt of each; and of all the mean."""

    longest: tuple[int, ...]
    learnt: tuple[int, ...]
    mean: float
    rows: int
    looked: int

    def batch(self, rows: int) -> tuple[int, int]:
        """Longest row and learnt tokens of the largest batch of so many rows."""
        most = sorted(self.learnt, reverse=True)[:rows]
        return self.longest[0], sum(most)

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

    def look(row: Text) -> tuple[int, int]:
        size = len(tokenizer(row.text)["input_ids"])
        return size, size

    return _lengths(texts(stage.data), lambda row: len(row.text), look)


def of_conversations(stage: Sft, tokenizer: Any, limit: int | None) -> Lengths:
    """Of what `sft` learns."""
    rows = conversations(stage.data)

    def look(row: Conversation) -> tuple[int, int]:
        (found,) = encode(tokenizer, [row], limit, stage.mask)
        return len(found.input_ids), found.learnt

    return _lengths(rows, lambda row: _characters(row.messages), look)


def of_pairs(stage: Dpo, tokenizer: Any, limit: int | None) -> Lengths:
    """Of DPO's pairs: the longer answer with its prompt, and both answers as learnt."""
    rows = pairs(stage.data)

    def look(row: Pair) -> tuple[int, int]:
        _, chosen, rejected = token_ids(tokenizer, fit(tokenizer, row, limit).pair)
        length = fit(tokenizer, row, limit).length
        return min(length, limit or length), len(chosen) + len(rejected)

    return _lengths(rows, lambda row: _characters([*row.prompt, *row.chosen, *row.rejected]), look)


def of_prompts(score: Score, tokenizer: Any) -> Lengths:
    """Of what a task of writing asks."""
    task = scored.written(score)
    rows = scored.rows(score, scored.examples(score))
    prompts = [as_messages(task.prompt(row), "user") for row in rows]

    def look(prompt: Any) -> tuple[int, int]:
        return len(render(tokenizer, prompt, answer_follows=True)), 0

    return _lengths(prompts, _characters, look)


def of_answers(score: Score, tokenizer: Any, limit: int | None) -> Lengths:
    """Of the conversations whose likelihood a task measures."""
    assert score.data is not None, "the recipe's checks refuse these tasks without data"
    task = scored.LIKELY[score.task]
    items = [task.item(each) for each in task.examples(score.data)[: score.rows]]
    talks = [each for item in items for each in item if isinstance(each, Conversation)]

    def look(talk: Conversation) -> tuple[int, int]:
        (found,) = encode(tokenizer, [talk], limit)
        return len(found.input_ids), found.learnt

    return _lengths(talks, lambda talk: _characters(talk.messages), look)


def _lengths(
    rows: Sequence[Any], size: Callable[[Any], int], look: Callable[[Any], tuple[int, int]]
) -> Lengths:
    draw = random.Random(0)
    numbers = sorted(draw.sample(range(len(rows)), min(MEASURED, len(rows))))
    by_size = sorted(numbers, key=lambda number: -size(rows[number]))
    longest = sorted((look(rows[number]) for number in by_size[:TOKENISED]), reverse=True)
    some = [look(rows[n]) for n in draw.sample(numbers, min(TOKENISED, len(numbers)))]
    return Lengths(
        tuple(length for length, _ in longest),
        tuple(learnt for _, learnt in longest),
        sum(length for length, _ in some) / len(some),
        len(rows),
        len(set(by_size[:TOKENISED])),
    )


def _characters(messages: Sequence[Any]) -> int:
    return sum(len(str(message.get("content") or "")) for message in messages)
