"""How encoded rows become optimizer steps: by rows, by tokens, or packed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import datasets
import torch

from finetune.data.order import token_batches
from finetune.data.packing import PackedCollator, pack
from finetune.data.tokens import IGNORED
from finetune.errors import FinetuneError
from finetune.job import Job
from finetune.models.packed import keep_apart, lies_flat
from finetune.ranks import nearest, world_size
from finetune.recipe.types import Sft
from finetune.stages import training

# What a collator of ours does not want the trainer to drop.
OURS = {"remove_unused_columns": False}


@dataclass(frozen=True)
class Layout:
    """`dataset` in the order of training, `batch_size` of its items to an optimizer step.

    `collator` is None where the trainer's own will do; `settings` are fields of its config.
    """

    dataset: datasets.Dataset
    batch_size: int
    rows_per_step: float
    collator: Any = None
    settings: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What is laid out: rows of `input_ids` and `labels`, none above `limit` tokens, of which
    `at_once` may go through the model together. `order` has their numbers over all epochs, for
    steps of so many rows each.
    """

    dataset: datasets.Dataset
    lengths: list[int]
    order: list[int]
    limit: int | None
    model: Any
    pad_token_id: int
    at_once: int


def lay_out(stage: Sft, rows: Rows, job: Job) -> Layout:
    """The rows of all epochs as the stage says.

    Raises:
        FinetuneError: packed rows would see each other on this model.
    """
    if stage.train.get("packing"):
        return _packed(stage, rows, job)
    if stage.batch_tokens is not None:
        return _by_tokens(stage, rows, job, stage.batch_tokens)
    return Layout(rows.dataset.select(rows.order), stage.batch_size, stage.batch_size)


def _packed(stage: Sft, rows: Rows, job: Job) -> Layout:
    limit = rows.limit or max(rows.lengths)
    apart = keep_apart(rows.model, job.name)
    packs = pack(rows.dataset, limit)
    size = _packs_per_step(stage, limit, job)
    plan = training.plan(stage.train, len(packs), size, limit)
    filled = [sum(each) for each in packs["seq_lengths"]]
    return Layout(
        packs.select(training.order(plan, filled, size, job.seed)),
        size,
        size * len(rows.dataset) / len(packs),
        PackedCollator(rows.pad_token_id, flat=lies_flat(rows.model)),
        {**OURS, "packing": False},  # the rows are packed already
        {
            "packs": len(packs),
            "pack_filled": round(sum(filled) / (len(packs) * limit), 4),
            "pack_leak": apart.neighbour,
        },
    )


def _packs_per_step(stage: Sft, limit: int, job: Job) -> int:
    """Rows of `limit` tokens, each packed, that make a step.

    Raises:
        FinetuneError: the processes cannot share them.
    """
    if stage.batch_tokens is None:
        return stage.batch_size
    size, many = max(1, stage.batch_tokens // limit), world_size()
    if size % many:
        raise FinetuneError(
            f"{stage.batch_tokens} tokens are {size} packs of {limit}, which do not divide over "
            f"{many} processes",
            where=f"{job.name}.batch_tokens",
            remedy=nearest(size, many, each=limit),
        )
    return size


def _by_tokens(stage: Sft, rows: Rows, job: Job, batch_tokens: int) -> Layout:
    """Steps of so many tokens, each spread over micro-batches of rows alike in length.

    An item of the dataset is one micro-batch: the numbers of its rows. A micro-batch may be
    empty in a step of few rows; the loss is the mean over all tokens of the step either way.
    """
    lengths, most = rows.lengths, stage.train.get("max_steps", -1)
    plan = training.plan(stage.train, len(lengths), 1, rows.limit)
    epochs = math.ceil(most * batch_tokens / sum(lengths)) + 1 if most > 0 else plan.epochs
    steps = token_batches(lengths, batch_tokens, epochs, job.seed, plan.strategy)
    steps = steps[:most] if most > 0 else steps
    accumulation = math.ceil(batch_tokens / (rows.at_once * max(lengths) * world_size()))
    parts = accumulation * world_size()
    tokens = sum(lengths[row] for step in steps for row in step)
    return Layout(
        datasets.Dataset.from_dict(
            {"rows": [part for step in steps for part in _spread(step, lengths, parts)]}
        ),
        parts,
        sum(map(len, steps)) / len(steps),
        RowsCollator(rows.dataset, rows.pad_token_id),
        {
            **OURS,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": accumulation,
        },
        {"tokens_per_step": round(tokens / len(steps))},
    )


def _spread(step: Sequence[int], lengths: Sequence[int], parts: int) -> list[list[int]]:
    """The rows of a step in so many parts, alike in length within a part and even in tokens."""
    total, done = sum(lengths[row] for row in step), 0
    spread: list[list[int]] = [[] for _ in range(parts)]
    for row in sorted(step, key=lambda row: -lengths[row]):
        spread[min(parts - 1, done * parts // total)].append(row)
        done += lengths[row]
    return spread


class RowsCollator:
    """Micro-batches by the numbers of their rows, padded on the right to the longest."""

    def __init__(self, rows: datasets.Dataset, pad_token_id: int) -> None:
        self.rows, self.pad_token_id = rows, pad_token_id

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """`input_ids`, `labels` and `attention_mask`, (rows, longest row)."""
        rows = [self.rows[number] for item in items for number in item["rows"]]
        shape = (max(1, len(rows)), max((len(row["input_ids"]) for row in rows), default=2))
        batch = {
            "input_ids": torch.full(shape, self.pad_token_id),
            "labels": torch.full(shape, IGNORED),
            "attention_mask": torch.zeros(shape, dtype=torch.long),
        }
        batch["attention_mask"][:, 0] = 1  # of a row made of padding alone, too
        for number, row in enumerate(rows):
            length = len(row["input_ids"])
            batch["input_ids"][number, :length] = torch.tensor(row["input_ids"])
            batch["labels"][number, :length] = torch.tensor(row["labels"])
            batch["attention_mask"][number, :length] = 1
        return batch
