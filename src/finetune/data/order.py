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
    the longest row: what does not fit in memory fails at once. The last batch is filled up with
    the rows that would come next: several processes cannot share every short one evenly, and
    accelerate would fill theirs with other rows than one process trains on.

    Args:
        lengths: tokens of each row.
        batch_size: rows per optimizer step.
        epochs: may be a fraction; the last epoch is then cut short, at a whole batch.
        strategy: `group_by_length`, `random` or `sequential`.
    """
    generator = random.Random(seed)
    order: list[int] = []
    wanted = math.ceil(round(epochs * len(lengths)) / batch_size) * batch_size
    while len(order) < wanted:
        order += _epoch(lengths, batch_size, generator, strategy)
    order = order[:wanted]
    return _longest_first(order, lengths, batch_size) if strategy != "sequential" else order


def most_together(tokens: Sequence[int], rows: int) -> int:
    """The largest sum of `tokens`, one for each row in order, over batches of so many rows."""
    return max(sum(tokens[at : at + rows]) for at in range(0, len(tokens), rows))


def token_batches(
    lengths: Sequence[int], batch_tokens: int, epochs: float, seed: int, strategy: str
) -> list[list[int]]:
    """Row numbers of every optimizer step, as many as fit into `batch_tokens` tokens.

    Order as in `training_order`: seeded, rows of a step alike in length, the step with the
    longest row first. A row longer than `batch_tokens` makes a step of its own.
    """
    generator = random.Random(seed)
    usual = max(1, batch_tokens * len(lengths) // max(1, sum(lengths)))
    steps: list[list[int]] = []
    for _ in range(math.ceil(epochs)):
        cut = []
        for pool in _pools(lengths, usual, generator, strategy):
            cut += _filled(pool, lengths, batch_tokens)
        if strategy == "group_by_length":
            generator.shuffle(cut)
        steps += cut
    steps = _first_rows(steps, round(epochs * len(lengths)))
    if strategy != "sequential":
        longest = max(range(len(steps)), key=lambda at: max(lengths[row] for row in steps[at]))
        steps[0], steps[longest] = steps[longest], steps[0]
    return steps


def _first_rows(steps: list[list[int]], count: int) -> list[list[int]]:
    """The steps that hold the first so many rows, the last one cut short."""
    kept: list[list[int]] = []
    for step in steps:
        kept.append(step[: max(0, count)])
        count -= len(step)
    return [step for step in kept if step]


def _filled(rows: Sequence[int], lengths: Sequence[int], limit: int) -> list[list[int]]:
    """The rows in order, cut before the one that would exceed `limit` tokens."""
    cut: list[list[int]] = []
    room = 0
    for row in rows:
        if lengths[row] > room or not cut:
            cut.append([])
            room = limit
        cut[-1].append(row)
        room -= lengths[row]
    return cut


def _pools(
    lengths: Sequence[int], batch_size: int, generator: random.Random, strategy: str
) -> list[list[int]]:
    """All rows once, in pools of `POOL` batches: shuffled, and sorted by length inside a pool."""
    rows = list(range(len(lengths)))
    if strategy == "sequential":
        return [rows]
    generator.shuffle(rows)
    if strategy == "random":
        return [rows]
    pools = [rows[at : at + batch_size * POOL] for at in range(0, len(rows), batch_size * POOL)]
    return [sorted(pool, key=lambda row: lengths[row]) for pool in pools]


def _epoch(
    lengths: Sequence[int], batch_size: int, generator: random.Random, strategy: str
) -> list[int]:
    pools = _pools(lengths, batch_size, generator, strategy)
    if strategy != "group_by_length":
        return pools[0]
    batches = [
        pool[at : at + batch_size] for pool in pools for at in range(0, len(pool), batch_size)
    ]
    # A short batch goes last, so that the batches of the next epoch keep their borders.
    full = [batch for batch in batches if len(batch) == batch_size]
    short = [batch for batch in batches if len(batch) < batch_size]
    generator.shuffle(full)
    return [row for batch in full + short for row in batch]


def _longest_first(order: list[int], lengths: Sequence[int], batch_size: int) -> list[int]:
    if not order:
        return order
    place = max(range(len(order)), key=lambda at: lengths[order[at]]) // batch_size * batch_size
    if place == 0:
        return order
    first, longest = order[:batch_size], order[place : place + batch_size]
    return longest + order[batch_size:place] + first + order[place + batch_size :]
