"""Intervals and p-values of a data set's score, by drawing its rows again.

A score is a weighted mean of row scores, Σ wᵢvᵢ / Σ wᵢ, or exp of it. Each row brings its pair
(wᵢvᵢ, wᵢ), so that a plain mean, a loss per token and a perplexity are all ratios of sums, and one
set of draws serves every model and metric: comparisons are paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 10_000
CELLS = 4_000_000  # rows times draws held at once
NORMAL = NormalDist()


@dataclass(frozen=True)
class Column:
    """The rows of one model under one metric: `values` and `weights`, (rows,) each.

    With `geometric` the values are averaged by their logarithms; they must be above 0.
    """

    values: Array
    weights: Array
    geometric: bool = False

    @property
    def sums(self) -> Array:
        """(2, rows): weighted value and weight of each row."""
        values = np.log(self.values) if self.geometric else self.values
        return np.stack([self.weights * values, self.weights])

    def score(self, sums: Array) -> Array:
        """The score from sums over rows, (2, …) -> (…)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = sums[0] / sums[1]
        return np.exp(mean) if self.geometric else mean

    @property
    def mean(self) -> float:
        """The data set's score."""
        return float(self.score(self.sums.sum(axis=1)))


@dataclass(frozen=True)
class Interval:
    """The ends of a confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Pair:
    """How much higher a column scores than another on the same rows."""

    difference: float
    interval: Interval
    p: float


def intervals(columns: list[Column], seed: int, resamples: int = RESAMPLES) -> list[Interval]:
    """Bootstrap interval of each column's score, all from the same draws."""
    drawn = _drawn(columns, seed, resamples)
    return [
        _accelerated(drawn[index], column.mean, column.score(_left_out(column)))
        for index, column in enumerate(columns)
    ]


def pairs(
    columns: list[Column], against: list[Column], seed: int, resamples: int = RESAMPLES
) -> list[Pair]:
    """Each column compared with its partner: paired bootstrap and paired permutation."""
    both = [*columns, *against]
    drawn = _drawn(both, seed, resamples)
    ps = permutation_ps(columns, against, seed, resamples)
    found = []
    for index, (one, other) in enumerate(zip(columns, against, strict=True)):
        differences = drawn[index] - drawn[len(columns) + index]
        left_out = one.score(_left_out(one)) - other.score(_left_out(other))
        difference = one.mean - other.mean
        interval = _accelerated(differences, difference, left_out)
        found.append(Pair(difference, interval, ps[index]))
    return found


def permutation_ps(
    columns: list[Column], against: list[Column], seed: int, resamples: int = RESAMPLES
) -> list[float]:
    """Two-sided p of each difference: how often chance makes one as large.

    Under no difference the two models' scores of a row may change places; with plain means that is
    the sign-flip test. The observed order counts as one draw, so p is never 0 (Phipson and Smyth
    2010).
    """
    generator = np.random.default_rng([seed, 1])
    rows = len(columns[0].values)
    ours = np.stack([column.sums for column in columns])  # (columns, 2, rows)
    theirs = np.stack([column.sums for column in against])
    totals, gaps = ours.sum(axis=2), theirs - ours
    reached = np.zeros(len(columns))
    seen = np.array([abs(a.mean - b.mean) for a, b in zip(columns, against, strict=True)])
    for size in _chunks(rows, resamples):
        swaps = generator.integers(0, 2, size=(size, rows), dtype=np.int8).astype(np.float64)
        moved = np.einsum("dr,ckr->ckd", swaps, gaps, optimize=True)
        for index, (one, other) in enumerate(zip(columns, against, strict=True)):
            mine = totals[index][:, None] + moved[index]
            its = theirs[index].sum(axis=1)[:, None] - moved[index]
            gap = np.abs(one.score(mine) - other.score(its))
            # Sums in another order differ in the last digits: what is equal must count as reached.
            reached[index] += np.count_nonzero(gap >= seen[index] - _slack(seen[index], one.mean))
    return [float((1 + count) / (1 + resamples)) for count in reached]


def share_interval(hits: int, of: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a share, 0 to 1 (Wilson 1927).

    Never of no width, as the bootstrap of rows that are all alike is.
    """
    z = NORMAL.inv_cdf(0.5 + level / 2)
    share, wide = hits / of, 1 + z * z / of
    middle = (share + z * z / (2 * of)) / wide
    half = z / wide * (share * (1 - share) / of + z * z / (4 * of * of)) ** 0.5
    # None and all are bounds to the last digit, which the sums above are not.
    return Interval(middle - half if hits else 0.0, middle + half if hits < of else 1.0)


def _drawn(columns: list[Column], seed: int, resamples: int) -> Array:
    """(columns, resamples): the scores of data sets drawn from the rows with replacement."""
    generator = np.random.default_rng([seed, 0])
    rows = len(columns[0].values)
    sums = np.stack([column.sums for column in columns])
    parts = []
    for size in _chunks(rows, resamples):
        draws = generator.integers(0, rows, size=(size, rows)) + rows * np.arange(size)[:, None]
        counts = np.bincount(draws.ravel(), minlength=size * rows).reshape(size, rows)
        parts.append(np.einsum("dr,ckr->ckd", counts.astype(np.float64), sums, optimize=True))
    totals = np.concatenate(parts, axis=2)
    return np.stack([column.score(total) for column, total in zip(columns, totals, strict=True)])


def _left_out(column: Column) -> Array:
    """(2, rows): the sums without each row in turn."""
    sums = column.sums
    return sums.sum(axis=1)[:, None] - sums


def _accelerated(draws: Array, seen: float, left_out: Array, level: float = LEVEL) -> Interval:
    """The bias-corrected and accelerated interval (BCa; Efron 1987).

    Plain percentiles are off for skewed scores, such as lengths or shares near 0 or 100.
    """
    draws = draws[np.isfinite(draws)]
    if len(draws) == 0 or np.ptp(draws) <= _slack(seen, seen):
        return Interval(seen, seen)
    below = np.mean(draws < seen) + np.mean(draws == seen) / 2
    bias = NORMAL.inv_cdf(min(max(below, 1 / (len(draws) + 1)), len(draws) / (len(draws) + 1)))
    gaps = left_out.mean() - left_out
    spread = np.sum(gaps**2) ** 1.5
    acceleration = float(np.sum(gaps**3) / (6 * spread)) if spread > 0 else 0.0
    ends = []
    for share in (0.5 - level / 2, 0.5 + level / 2):
        z = bias + NORMAL.inv_cdf(share)
        ends.append(NORMAL.cdf(bias + z / (1 - acceleration * z)))
    low, high = np.quantile(draws, ends)
    return Interval(float(low), float(high))


def _slack(first: float, second: float) -> float:
    return 1e-12 * max(1.0, abs(first), abs(second))


def _chunks(rows: int, resamples: int) -> Iterator[int]:
    size = max(1, CELLS // max(rows, 1))
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
