"""Rows put together for evaluation: longest first, alike in length, so little is padding."""

from __future__ import annotations

from collections.abc import Sequence


def batches_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Row numbers in batches; the longest come first, so that memory runs out at once or never."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
