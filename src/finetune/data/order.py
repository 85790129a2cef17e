"""The order of rows over all epochs: seeded, alike in length within a batch."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

POOL = 50  # batches sorted together: enough to fill them with rows alike, few enough to stay random


def training_order(
    lengths: Sequence[int], batch_size: int, epochs: float, seed: int, strategy: str
) -> list[int]:
    """Row numbers in the order of training, all epochs one after another.

    Written out here rather than left to a sampler, so that it is the same for any number of
    processes and a resumed run continues in the very row it stopped at. The first batch holds
    the longest row: what does not fit in memory fails at once.

    Args:
        lengths: tokens of each row.
        batch_size: rows per optimizer step.
        epochs: may be a fraction; the last epoch is then cut short.
        strategy: `group_by_length`, `random` or `sequential`.
    """
    generator = random.Random(seed)
    order: list[int] = []
    for _ in range(math.ceil(epochs)):
        order += _epoch(lengths, batch_size, generator, strategy)
    order = order[: round(epochs * len(lengths))]
    return _longest_first(order, lengths, batch_size) if strategy != "sequential" else order


def _epoch(
    lengths: Sequence[int], batch_size: int, generator: random.Random, strategy: str
) -> list[int]:
    rows = list(range(len(lengths)))
    if strategy == "sequential":
        return rows
    generator.shuffle(rows)
    if strategy == "random":
        return rows
    pool = batch_size * POOL
    batches: list[list[int]] = []
    for start in range(0, len(rows), pool):
        alike = sorted(rows[start : start + pool], key=lambda row: lengths[row])
        batches += [alike[at : at + batch_size] for at in range(0, len(alike), batch_size)]
    # A short batch goes last, so that the batches of the next epoch keep their borders.
    full = [batch for batch in batches if len(batch) == batch_size]
    short = [batch for batch in batches if len(batch) < batch_size]
    generator.shuffle(full)
    return [row for batch in full + short for row in batch]


def _longest_first(order: list[int], lengths: Sequence[int], batch_size: int) -> list[int]:
    if not order:
        return order
    place = max(range(len(order)), key=lambda at: lengths[order[at]]) // batch_size * batch_size
    first, longest = order[:batch_size], order[place : place + batch_size]
    if place == 0 or len(longest) < batch_size:
        return order
    return longest + order[batch_size:place] + first + order[place + batch_size :]
