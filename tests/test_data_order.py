"""The order of rows over all epochs."""

from itertools import pairwise

import pytest

from finetune.data.order import most_together, token_batches, training_order
from finetune.errors import FinetuneError
from finetune.stages.batches import split

LENGTHS = [(7 * n) % 97 + 1 for n in range(1000)]


@pytest.mark.parametrize("strategy", ["group_by_length", "random", "sequential"])
def test_every_epoch_holds_every_row_once(strategy):
    order = training_order(LENGTHS, 8, 2, seed=1, strategy=strategy)
    if strategy == "sequential":
        assert order == [*range(1000), *range(1000)]
    assert sorted(order) == sorted([*range(1000), *range(1000)])


def test_the_same_seed_gives_the_same_order_and_another_seed_another():
    first = training_order(LENGTHS, 8, 1, seed=1, strategy="group_by_length")
    assert first == training_order(LENGTHS, 8, 1, seed=1, strategy="group_by_length")
    assert first != training_order(LENGTHS, 8, 1, seed=2, strategy="group_by_length")


def test_grouping_by_length_leaves_little_padding():
    def padded(strategy: str) -> int:
        order = training_order(LENGTHS, 8, 1, seed=1, strategy=strategy)
        batches = [order[at : at + 8] for at in range(0, 1000, 8)]
        return sum(len(b) * max(LENGTHS[row] for row in b) for b in batches) - sum(LENGTHS)

    assert padded("group_by_length") < 0.1 * padded("random")


def test_the_first_batch_holds_the_longest_row():
    order = training_order(LENGTHS, 8, 1, seed=1, strategy="group_by_length")
    assert max(LENGTHS) in [LENGTHS[row] for row in order[:8]]


def test_batches_are_not_sorted_by_length_over_the_epoch():
    order = training_order(LENGTHS, 8, 1, seed=1, strategy="group_by_length")
    means = [sum(LENGTHS[row] for row in order[at : at + 8]) / 8 for at in range(8, 1000, 8)]
    rises = sum(later > earlier for earlier, later in pairwise(means))
    assert 0.35 < rises / len(means) < 0.65


def test_half_an_epoch_is_half_the_rows():
    assert len(training_order(LENGTHS, 4, 0.5, seed=1, strategy="random")) == 500


@pytest.mark.parametrize("strategy", ["group_by_length", "random", "sequential"])
@pytest.mark.parametrize(("rows", "epochs", "steps"), [(60, 1, 8), (60, 2.5, 19), (3, 1, 1)])
def test_every_step_is_a_whole_batch_filled_with_the_rows_that_come_next(
    rows, epochs, steps, strategy
):
    order = training_order(LENGTHS[:rows], 8, epochs, seed=1, strategy=strategy)
    assert len(order) == 8 * steps
    times = [order.count(row) for row in range(rows)]
    assert max(times) - min(times) <= 1
    whole = training_order(LENGTHS[:rows], 8, steps * 8 / rows, seed=1, strategy=strategy)
    assert order == whole


@pytest.mark.parametrize("strategy", ["group_by_length", "random", "sequential"])
def test_steps_by_tokens_hold_every_row_once_and_keep_to_their_size(strategy):
    steps = token_batches(LENGTHS, 600, 2, seed=1, strategy=strategy)
    assert sorted(row for step in steps for row in step) == sorted([*range(1000), *range(1000)])
    sizes = [sum(LENGTHS[row] for row in step) for step in steps]
    assert max(sizes) <= 600
    assert sum(sizes) / len(sizes) > 500
    assert token_batches(LENGTHS, 600, 2, seed=1, strategy=strategy) == steps


def test_steps_by_tokens_are_alike_in_length_and_the_longest_comes_first():
    steps = token_batches(LENGTHS, 600, 1, seed=1, strategy="group_by_length")
    padded = sum(len(step) * max(LENGTHS[row] for row in step) for step in steps)
    assert padded < 1.1 * sum(LENGTHS)
    assert max(LENGTHS) in [LENGTHS[row] for row in steps[0]]


def test_half_an_epoch_by_tokens_is_half_the_rows():
    steps = token_batches(LENGTHS, 600, 0.5, seed=1, strategy="random")
    assert sum(map(len, steps)) == 500


@pytest.mark.parametrize(
    ("batch_size", "devices", "per_device", "accumulation"),
    [(8, 1, 8, 1), (64, 1, 16, 4), (64, 2, 16, 2), (34, 2, 1, 17), (12, 3, 4, 1), (24, 1, 12, 2)],
)
def test_rows_per_step_do_not_depend_on_the_devices(batch_size, devices, per_device, accumulation):
    found = split(batch_size, devices, "cpu")
    assert found.per_device * found.accumulation * devices == batch_size
    assert found.per_device <= 16
    assert (found.per_device, found.accumulation) == (per_device, accumulation)


def test_an_impossible_split_names_the_nearest_possible_ones():
    with pytest.raises(FinetuneError, match="6 and 9"):
        split(8, 3, "cpu")


@pytest.mark.parametrize("at_once", [2, 8])
def test_no_rows_that_go_together_have_more_than_is_told_and_some_have_it(at_once):
    order = training_order(LENGTHS, 8, 1, seed=1, strategy="group_by_length")
    tokens = [31 * row % 1009 for row in order]
    sums = [sum(tokens[at : at + at_once]) for at in range(0, 1000, at_once)]
    told = most_together(tokens, at_once)
    assert told == max(sums) < sum(sorted(tokens)[-at_once:])  # rows of other lengths are not there
