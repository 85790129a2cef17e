"""Likelihoods of texts in windows: every token once, with the context that its window gives."""

import pytest
import torch

from finetune.data.tokens import IGNORED

pytestmark = pytest.mark.heavy
PREFIX = 1


def windows(ids, longest, stride):
    from finetune.models.likelihood import windows as made

    return made(ids, PREFIX, longest, stride)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 30])
@pytest.mark.parametrize(("longest", "stride"), [(8, 4), (8, 7), (8, 1), (5, 3), (64, 32)])
def test_every_token_counts_once_and_in_order(length, longest, stride):
    ids = list(range(100, 100 + length))
    found = windows(ids, longest, stride)
    assert all(len(each.input_ids) <= longest for each in found)
    counted = [label for each in found for label in each.labels[1:] if label != IGNORED]
    assert counted == ids


@pytest.mark.parametrize(("longest", "stride"), [(8, 4), (8, 1), (16, 9), (64, 32)])
def test_strided_loss_is_that_of_each_token_alone(longest, stride, random_base):
    from finetune.models.likelihood import likelihoods
    from finetune.models.load import open_base
    from finetune.recipe.types import Base

    model = open_base(Base(model=str(random_base), dtype="float32"))
    ids = [(7 * n) % 300 + 5 for n in range(29)]
    found = likelihoods(model, windows(ids, longest, stride), 3, "")
    assert sum(each.tokens for each in found) == len(ids)
    right = sum(alone(model, [PREFIX, *ids], at, longest, stride) for at in range(1, 30))
    assert sum(each.logprob for each in found) == pytest.approx(right, rel=1e-5)


def alone(model, whole, at, longest, stride):
    """Log-probability of one token by a pass of its own: its window is the first to reach it."""
    start = 0
    while at >= start + longest:
        start += stride
    with torch.inference_mode():
        logits = model(torch.tensor([whole[start:at]]), use_cache=False).logits[0, -1]
    return torch.log_softmax(logits.double(), -1)[whole[at]].item()


def test_a_window_longer_than_the_text_gives_the_plain_loss(random_base):
    from finetune.models.likelihood import likelihoods
    from finetune.models.load import open_base
    from finetune.recipe.types import Base

    model = open_base(Base(model=str(random_base), dtype="float32"))
    ids = [(11 * n) % 300 + 5 for n in range(40)]
    (found,) = likelihoods(model, windows(ids, 64, 32), 1, "")
    whole = torch.tensor([[PREFIX, *ids]])
    with torch.inference_mode():
        loss = model(whole, labels=whole, use_cache=False).loss.item()
    assert -found.per_token == pytest.approx(loss, rel=1e-5)
