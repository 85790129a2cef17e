"""When two query results are the same."""

from __future__ import annotations

import itertools
import random

import pytest

from finetune.metrics.sql_execution.compare import equal_results


def equal(gold, predicted, ordered=False):
    return equal_results(gold, predicted, ordered=ordered)


def test_rows_may_come_in_any_order_unless_the_right_query_orders_them():
    assert equal([(1,), (2,)], [(2,), (1,)])
    assert not equal([(1,), (2,)], [(2,), (1,)], ordered=True)
    assert equal([(1,), (2,)], [(1,), (2,)], ordered=True)


def test_duplicate_rows_count():
    assert not equal([(1,), (1,), (2,)], [(1,), (2,), (2,)])
    assert not equal([(1,), (1,)], [(1,)])


@pytest.mark.parametrize("ordered", [False, True])
def test_columns_may_come_in_any_order_but_not_mixed_between_rows(ordered):
    assert equal([(1, "a"), (2, "b")], [("a", 1), ("b", 2)], ordered)
    assert not equal([(1, "a"), (2, "b")], [("b", 1), ("a", 2)], ordered)
    assert not equal([(1, 1)], [(1,)], ordered)


def test_columns_with_the_same_values_are_told_apart_by_their_rows():
    gold = [(1, 2, 3), (2, 3, 1), (3, 1, 2)]
    assert equal(gold, [(3, 1, 2), (1, 2, 3), (2, 3, 1)])
    assert not equal(gold, [(1, 2, 3), (2, 1, 3), (3, 3, 2)])


def test_numbers_are_equal_by_value_and_up_to_rounding():
    assert equal([(1,)], [(1.0,)])
    assert equal([(0.3,)], [(0.1 + 0.2,)])
    assert equal([(0.0,)], [(1e-17,)])
    assert not equal([(0.3,)], [(0.3001,)])
    assert not equal([(10**15,)], [(10**15 + 1,)])
    assert equal([(float("inf"),)], [(float("inf"),)])


def test_null_equals_only_null_and_a_text_is_never_a_number():
    assert equal([(None,)], [(None,)])
    assert not equal([(None,)], [(0,)])
    assert not equal([(None,)], [("",)])
    assert not equal([(1,)], [("1",)])
    assert not equal([("a",)], [(b"a",)])
    assert not equal([("None",)], [(None,)])


def test_two_empty_results_are_equal_and_one_empty_is_not():
    assert equal([], [])
    assert not equal([], [(1,)])
    assert not equal([(1,)], [])


def brute_force(gold, predicted):
    orders = itertools.permutations(range(len(gold[0])))
    return any(
        sorted(gold) == sorted(tuple(row[i] for i in order) for row in predicted)
        for order in orders
    )


def test_agrees_with_trying_every_order_of_columns():
    draw = random.Random(1)
    seen = set()
    for _ in range(400):
        gold = [tuple(draw.randrange(2) for _ in range(3)) for _ in range(3)]
        order = draw.sample(range(3), 3)
        other = [tuple(row[i] for i in order) for row in draw.sample(gold, 3)]
        if draw.random() < 0.7:
            place = draw.randrange(3)
            other[place] = tuple(draw.randrange(2) for _ in range(3))
        seen.add(brute_force(gold, other))
        assert equal(gold, other) is brute_force(gold, other)
    assert seen == {True, False}


def test_many_columns_alike_are_compared_at_once():
    wide = [tuple([0] * 40 + [n]) for n in range(50)]
    assert equal(wide, [(row[-1], *row[:-1]) for row in reversed(wide)])
    zeros = [0] * 10
    gold = [(1, *zeros, 2), (2, *zeros, 3), (3, *zeros, 1)]
    assert equal(gold, [(2, *zeros, 1), (3, *zeros, 2), (1, *zeros, 3)])
