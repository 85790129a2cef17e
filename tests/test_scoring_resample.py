"""Intervals and p-values: right as often as they say, exact where a formula is known."""

import itertools
import math

import numpy as np
import pytest

from finetune.scoring import resample
from finetune.scoring.resample import Column, Interval, intervals, pairs, permutation_ps

SETS = 1000
# Three standard deviations of a share of 0.95 among a thousand sets.
ERROR = 3 * math.sqrt(0.95 * 0.05 / SETS)


def column(values, weights=None, geometric=False):
    values = np.asarray(values, dtype=float)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
    return Column(values, weights, geometric)


def rouge_like(generator, rows):
    """Skewed scores of 0 to 100, one in ten of them 0."""
    return 100 * generator.beta(2, 5, size=rows) * (generator.random(rows) > 0.1)


def test_intervals_of_a_mean_hold_the_truth_at_their_level():
    generator = np.random.default_rng(1)
    truth, held = 100 * 2 / 7 * 0.9, 0
    for seed in range(SETS):
        (found,) = intervals([column(rouge_like(generator, 70))], seed, resamples=300)
        held += found.low <= truth <= found.high
    assert abs(held / SETS - resample.LEVEL) < ERROR, held


def test_intervals_of_a_paired_difference_hold_the_truth_at_their_level():
    generator = np.random.default_rng(2)
    held = 0
    for seed in range(SETS):
        hard = rouge_like(generator, 70)
        ours = column(hard + generator.normal(1.5, 4, size=70))
        drawn = resample._drawn([ours, column(hard)], seed, 300)
        left = ours.score(resample._left_out(ours)) - column(hard).score(
            resample._left_out(column(hard))
        )
        found = resample._accelerated(drawn[0] - drawn[1], ours.mean - hard.mean(), left)
        held += found.low <= 1.5 <= found.high
    assert abs(held / SETS - resample.LEVEL) < ERROR, held


def test_intervals_of_a_loss_per_token_hold_the_truth_at_their_level():
    generator = np.random.default_rng(3)
    held = 0
    for seed in range(SETS):
        tokens = generator.integers(5, 60, size=70)
        loss = 2 + 10 / tokens + generator.normal(0, 0.3, size=70)
        (found,) = intervals([column(loss, tokens, geometric=False)], seed, resamples=300)
        truth = 2 + 10 / np.arange(5, 60).mean()
        held += found.low <= truth <= found.high
    assert abs(held / SETS - resample.LEVEL) < ERROR, held


def test_intervals_of_a_share_hold_the_truth_at_their_level():
    for share in (0.02, 0.3, 0.9):
        hits = np.arange(101)
        logs = [math.lgamma(101) - math.lgamma(h + 1) - math.lgamma(101 - h) for h in hits]
        chance = np.exp(
            np.array(logs) + hits * math.log(share) + (100 - hits) * math.log(1 - share)
        )
        ends = [resample.share_interval(int(h), 100) for h in hits]
        covered = sum(p for p, e in zip(chance, ends, strict=True) if e.low <= share <= e.high)
        assert 0.92 < covered < 0.99  # exact; a share of whole rows cannot hit the level


def test_a_share_of_nothing_or_all_is_not_certain():
    # Wilson's closed form at 0 of n: z^2 / (n + z^2).
    z = 1.959964
    assert resample.share_interval(0, 40).low == 0.0
    assert resample.share_interval(40, 40).high == 1.0
    assert resample.share_interval(0, 30).high == pytest.approx(z * z / (30 + z * z), rel=1e-6)
    assert resample.share_interval(30, 30).low == pytest.approx(30 / (30 + z * z), rel=1e-6)


def test_p_is_uniform_where_there_is_no_difference():
    generator = np.random.default_rng(4)
    ps = []
    for seed in range(SETS):
        hard = rouge_like(generator, 40)
        ours, theirs = (column(hard + generator.gamma(2, 3, size=40)) for _ in range(2))
        ps += permutation_ps([ours], [theirs], seed, resamples=199)
    ps = np.sort(ps)
    # Kolmogorov and Smirnov: the largest gap between what was found and the uniform p.
    gap = np.max(np.abs(np.arange(1, SETS + 1) / SETS - ps))
    assert gap < 1.63 / math.sqrt(SETS) + 1 / 200  # 1% level, and the steps of 199 draws
    assert abs(np.mean(ps <= 0.05) - 0.05) < 3 * math.sqrt(0.05 * 0.95 / SETS)


def test_p_is_that_of_all_sign_flips():
    generator = np.random.default_rng(5)
    ours, theirs = generator.normal(0.5, 1, size=10), generator.normal(0, 1, size=10)
    gaps = ours - theirs
    flips = np.array(list(itertools.product((1, -1), repeat=10)))
    exact = np.mean(np.abs(flips @ gaps) >= abs(gaps.sum()) - 1e-12)
    (found,) = permutation_ps([column(ours)], [column(theirs)], seed=1, resamples=40_000)
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 40_000))


def test_equal_models_differ_by_nothing_and_p_is_1():
    same = column([1.0, 2.0, 4.0])
    (pair,) = pairs([same], [same], seed=3)
    assert (pair.difference, pair.interval, pair.p) == (0.0, Interval(0.0, 0.0), 1.0)


def test_the_spread_of_the_draws_is_the_standard_error():
    values = np.random.default_rng(6).normal(size=400)
    drawn = resample._drawn([column(values)], seed=1, resamples=20_000)[0]
    assert drawn.std() == pytest.approx(values.std() / 20, rel=0.02)


def test_a_weighted_mean_and_a_perplexity_are_ratios_of_sums():
    nats, tokens = np.array([2.0, 30.0, 8.0]), np.array([4.0, 10.0, 2.0])
    assert column(nats / tokens, tokens).mean == pytest.approx(40 / 16)
    found = column(np.exp(nats / tokens), tokens, geometric=True).mean
    assert found == pytest.approx(math.exp(40 / 16))


def test_shifting_and_scaling_scores_does_the_same_to_their_interval():
    values = np.random.default_rng(7).gamma(2, 3, size=60)
    one, other = intervals([column(values), column(10 + 3 * values)], seed=9)
    assert (other.low, other.high) == pytest.approx((10 + 3 * one.low, 10 + 3 * one.high))


def test_the_same_seed_gives_the_same_numbers_in_any_company_and_chunk(monkeypatch):
    values = np.random.default_rng(8).gamma(2, 3, size=50)
    alone = intervals([column(values)], seed=4, resamples=300)
    monkeypatch.setattr(resample, "CELLS", 700)
    together = intervals([column(values[::-1]), column(values)], seed=4, resamples=300)
    assert together[1].low == pytest.approx(alone[0].low)
    assert intervals([column(values)], seed=5, resamples=300) != alone


def test_one_row_has_no_spread():
    assert intervals([column([7.0])], seed=1) == [Interval(7.0, 7.0)]
