"""Masks of padding: left out where nobody would see it, and the same comes out."""

import pytest
import torch
from shapes import SHAPES
from small_stages import run, sft

from finetune.job import ModelRef
from finetune.models.adapters import backbone_of
from finetune.models.causal import is_causal, leave_masks_out
from finetune.models.load import open_base
from finetune.recipe.types import Base

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("quiet")]
LENGTHS = [30, 17, 5]
IDS = torch.arange(5, 95).reshape(3, 30)
MASK = (torch.arange(30) < torch.tensor(LENGTHS)[:, None]).long()


def reading(model, ids=IDS):
    """States of the real tokens, and the gradient that comes back to the embeddings."""
    model.zero_grad()
    backbone = backbone_of(model)
    out = backbone(input_ids=ids, attention_mask=MASK, use_cache=False).last_hidden_state
    real = out[MASK.bool()]
    real.square().sum().backward()
    return real.detach(), backbone.get_input_embeddings().weight.grad


def watch():
    """The masks that attention is given, gathered call by call, and what gathers them."""
    seen = []
    sdpa = torch.nn.functional.scaled_dot_product_attention

    def watched(*args, attn_mask=None, **given):
        seen.append(attn_mask)
        return sdpa(*args, attn_mask=attn_mask, **given)

    return seen, watched


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_rows_and_gradients_are_the_same_with_and_without(kind, bases, monkeypatch):
    model = open_base(Base(model=str(bases(kind)), dtype="float32")).eval()
    seen, watched = watch()
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    states, gradient = reading(model)
    if not leave_masks_out(model):
        # Attention of their own; experts that take tokens in groups, other ones other bits.
        assert kind in ("gemma2", "mpt", "mixtral")
        return
    assert any(mask is not None for mask in seen)
    seen.clear()
    found, back = reading(model)
    assert seen and all(mask is None for mask in seen)
    assert torch.allclose(found, states, rtol=1e-4, atol=1e-5)
    assert float((back - gradient).norm() / gradient.norm()) < 1e-5


def test_what_a_row_is_padded_with_makes_no_difference(bases):
    model = open_base(Base(model=str(bases("llama")), dtype="float32"))
    assert leave_masks_out(model)
    other = torch.where(MASK.bool(), IDS, 3)
    assert torch.equal(reading(model)[0], reading(model, other)[0])


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3"])
def test_a_model_that_looks_ahead_keeps_its_masks(kind, bases):
    model = open_base(Base(model=str(bases(kind)), dtype="float32"))
    assert is_causal(backbone_of(model))
    for module in model.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False
    assert not is_causal(backbone_of(model))
    assert not leave_masks_out(model)


def test_without_weights_nothing_is_tried(bases):
    """As in the processes that FSDP gives theirs when training starts."""
    model = open_base(Base(model=str(bases("llama")), dtype="float32")).to("meta")
    assert not leave_masks_out(model)


def test_answers_to_prompts_keep_theirs(bases):
    model = open_base(Base(model=str(bases("llama")), dtype="float32")).eval()
    ids, mask = IDS[:2, :12], torch.ones(2, 12, dtype=torch.long)
    mask[1, :7] = 0  # on the left

    def answers():
        return model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=5, do_sample=False, pad_token_id=0
        )

    before = answers()
    assert leave_masks_out(model)
    assert torch.equal(answers(), before)


def test_training_leaves_them_out(bases, rows, tmp_path, monkeypatch):
    seen, watched = watch()
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    run(sft(rows), ModelRef(base=Base(model=str(bases("llama")))), tmp_path / "sft")
    assert seen and all(mask is None for mask in seen)
