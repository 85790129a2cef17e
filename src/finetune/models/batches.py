"""Rows put together for evaluation: longest first, alike in length, so little is padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from finetune.data.tokens import IGNORED, Encoded


def batches_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Row numbers in batches; the longest come first, so that memory runs out at once or never."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]


def right_padded(rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and `labels`, each (rows, longest row)."""
    longest = max(len(row.input_ids) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED)
    for number, row in enumerate(rows):
        length = len(row.input_ids)
        ids[number, :length] = torch.tensor(row.input_ids)
        mask[number, :length] = 1
        labels[number, :length] = torch.tensor(row.labels)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
