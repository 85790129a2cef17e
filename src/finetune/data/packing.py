"""Several rows in one: short rows fill `max_length` together, each still learnt on its own.

What keeps them apart inside the model is `position_ids` that start again with every row; whether
a model heeds them is for `models.packed` to prove.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import datasets
import torch
from trl import pack_dataset

from finetune.data.tokens import IGNORED


def pack(rows: datasets.Dataset, max_length: int) -> datasets.Dataset:
    """Rows of `input_ids` and `labels` packed best-fit-decreasing, none of them cut.

    `seq_lengths` of a packed row are the tokens of the rows in it, in order. No row may be longer
    than `max_length`: TRL would cut it.
    """
    kept = rows.select_columns(["input_ids", "labels"])
    assert max(len(ids) for ids in kept["input_ids"]) <= max_length
    return pack_dataset(kept, max_length, strategy="bfd")


class PackedCollator:
    """Packed rows as one batch: `input_ids`, `labels` and `position_ids`, (rows, longest row).

    With `flat` they are one row, end to end: FlashAttention reads positions of a single row alone.

    No `attention_mask`: transformers tells packed rows apart only where there is none. The first
    token of each row is not learnt, for what stands before it belongs to another row; padding
    counts as rows of one token.
    """

    def __init__(self, pad_token_id: int, *, flat: bool = False) -> None:
        self.pad_token_id, self.flat = pad_token_id, flat

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """A batch of rows as `pack` makes them."""
        if self.flat and len(rows) > 1:
            names = ("input_ids", "labels", "seq_lengths")
            rows = [{name: list(chain(*(row[name] for row in rows))) for name in names}]
        size = max(len(row["input_ids"]) for row in rows)
        shape = (len(rows), size)
        batch = {
            "input_ids": torch.full(shape, self.pad_token_id),
            "labels": torch.full(shape, IGNORED),
            "position_ids": torch.zeros(shape, dtype=torch.long),
        }
        for number, row in enumerate(rows):
            length = len(row["input_ids"])
            batch["input_ids"][number, :length] = torch.tensor(row["input_ids"])
            batch["labels"][number, :length] = torch.tensor(row["labels"])
            positions = [torch.arange(each) for each in row["seq_lengths"]]
            batch["position_ids"][number, :length] = torch.cat(positions)
        batch["labels"][batch["position_ids"] == 0] = IGNORED
        return batch
