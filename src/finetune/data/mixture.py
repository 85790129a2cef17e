"""Several sources as one: how many rows of each, and in which order.

Shares are worked out, not drawn: of N rows each source gives its share to within one row, at the
end as at any place before it. What is random is which of its rows come when, and that is the
seed's alone.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

from finetune.data.examples import Examples
from finetune.errors import DataError
from finetune.recipe.types import Data, Part

T = TypeVar("T")


def mix(sources: Sequence[Examples[T]], data: Data, names: Sequence[str], seed: int) -> Examples[T]:
    """The examples of all sources in their shares, evenly spread.

    Raises:
        DataError: the caps allow fewer rows than are asked for.
    """
    import datasets

    sizes = [len(source) for source in sources]
    counts = counted(sizes, data.mix, data.rows)
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    drawn = [
        draws(size, count, f"{seed}/{at}")
        for at, (size, count) in enumerate(zip(sizes, counts, strict=True))
    ]
    order = [starts[at] + next(drawn[at]) for at in spread(counts)]
    together = datasets.concatenate_datasets([source.dataset for source in sources])
    first = sources[0]
    return Examples(
        together.select(order),
        first.kind,
        "mixes " + ", ".join(map(_said, names, sources, sizes, counts)),
        " + ".join(dict.fromkeys(source.layout for source in sources)),
        first.refused,
        tuple(source.kept_by for source in sources),
    )


def counted(sizes: Sequence[int], parts: Sequence[Part], total: int | None) -> list[int]:
    """Rows that each source gives.

    With weights, shares are theirs, no source gives more than its `cap`, and what it cannot give
    the others do; without, a source weighs min(rows, cap) (FLAN's examples-proportional mixing,
    Wei et al. 2022). Without a total it is the largest that repeats no row.

    Raises:
        DataError: the caps allow fewer rows than `total`.
    """
    capped = [min(size, part.cap or size) for size, part in zip(sizes, parts, strict=True)]
    if parts[0].weight is None:
        return capped if total is None else apportioned([float(each) for each in capped], total)
    weights = [float(part.weight or 0) for part in parts]
    if total is None:
        return _without_repeats(weights, capped)
    return _within(weights, [part.cap for part in parts], total)


def _without_repeats(weights: Sequence[float], sizes: Sequence[int]) -> list[int]:
    """Counts of the largest total at which no share is more than its source has."""
    whole = sum(weights)
    # A hair's breadth up: 0.7 of 10 rows is 7, whatever binary fractions make of it.
    totals = (size * whole / weight + 1e-9 for size, weight in zip(sizes, weights, strict=True))
    return apportioned(weights, math.floor(min(totals)))


def apportioned(weights: Sequence[float], total: int) -> list[int]:
    """Whole numbers in the proportion of the weights with this sum (largest remainders)."""
    whole = sum(weights)
    quotas = [total * weight / whole for weight in weights]
    counts = [math.floor(quota + 1e-9) for quota in quotas]
    by_rest = sorted(range(len(counts)), key=lambda at: (counts[at] - quotas[at], at))
    for at in by_rest[: total - sum(counts)]:
        counts[at] += 1
    return counts


def _within(weights: Sequence[float], caps: Sequence[int | None], total: int) -> list[int]:
    counts = apportioned(weights, total)
    full: dict[int, int] = {}
    while over := [at for at, cap in enumerate(caps) if cap is not None and counts[at] > cap]:
        full |= {at: int(caps[at] or 0) for at in over}
        rest = total - sum(full.values())
        open_ = [at for at in range(len(weights)) if at not in full]
        if not open_ and rest:
            raise DataError(
                f"the caps of the mix allow {sum(full.values()):,} rows, not {total:,}",
                remedy="Lower data.rows, or raise a cap.",
            )
        shared = dict(zip(open_, apportioned([weights[at] for at in open_], rest), strict=True))
        counts = [full.get(at, shared.get(at, 0)) for at in range(len(weights))]
    return counts


def spread(counts: Sequence[int]) -> Iterator[int]:
    """Source numbers, each as often as its count, each as evenly as can be."""

    def places(at: int, count: int) -> Iterator[tuple[float, int]]:
        return (((number + 0.5) / count, at) for number in range(count))

    for _, at in heapq.merge(*(places(at, count) for at, count in enumerate(counts))):
        yield at


def draws(size: int, count: int, seed: str) -> Iterator[int]:
    """Row numbers in passes over all rows, each pass in an order of its own."""
    generator = random.Random(seed)
    for begin in range(0, count, max(size, 1)):
        rows = list(range(size))
        generator.shuffle(rows)
        yield from rows[: count - begin]


def _said(name: str, source: Examples[T], size: int, count: int) -> str:
    again = f", {count / size:.1f} times each" if count > size else ""
    return f"{count:,} of {size:,} rows of {name}{again} ({source.said})"
