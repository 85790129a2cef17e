"""Pairs that share their prompt: the same model, asked once for what both answers begin with."""

import json

import pytest
import torch
from shapes import SHAPES
from small_stages import dpo, run, sft
from transformers import AutoModelForCausalLM, BloomConfig
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

from finetune.job import ModelRef
from finetune.models.adapters import add_adapter
from finetune.models.load import open_base
from finetune.models.pairs import (
    PROMPT,
    cannot_share,
    lay_out,
    longest_row,
    needs_alignment,
    share_prompts,
)
from finetune.recipe.types import Base

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("quiet")]
# prompt, chosen, rejected: of several lengths, equal ones and one that begins the other among them
PAIRS = [
    ([5, 6, 7, 8], [9, 10, 11], [12, 13]),
    ([5, 6], [14], [14, 15, 16, 17, 18]),
    ([20, 21, 22, 23, 24, 25, 26], [27, 28], [29, 28]),
    ([30], [31, 32], [31, 32]),
]


@pytest.fixture(scope="module")
def batch():
    """The pairs as TRL's collator has them."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    rows = [dict(zip(names, pair, strict=True)) for pair in PAIRS]
    return DataCollatorForPreference(pad_token_id=0)(rows)


@pytest.mark.parametrize("aligned", [False, True])
def test_a_shared_row_holds_both_rows_of_its_pair_and_nothing_else(batch, aligned):
    ids, mask = batch["input_ids"], batch["attention_mask"].bool()
    shared = lay_out(ids, batch["attention_mask"], aligned=aligned)
    flat = shared["input_ids"].flatten()
    assert torch.equal(flat[shared["places"]][mask], ids[mask])
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    assert torch.equal(shared["position_ids"].flatten()[shared["places"]][mask], positions[mask])
    # Of the third pair 7, 2 and 2; and, of all, the most of each.
    size = longest_row([(4, 3, 2), (3, 0, 4), (7, 2, 2), (3, 0, 0)], aligned=aligned)
    assert shared["input_ids"].shape == (4, size) == (4, 14 if aligned else 11)
    assert (shared["part"] == PROMPT).sum(dim=1).tolist() == [4, 3, 7, 3]


def _likelihoods(model, batch, share):
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    names = ["input_ids", "attention_mask"]
    given = {name: batch[name] for name in names}
    if share:
        given["shared"] = lay_out(*given.values(), aligned=needs_alignment(model))
    if not hasattr(model, "has_head"):
        add_fused_lm_head(model.get_base_model())
        model.has_head = True
    return model(**given, labels=labels, fused_lm_head=True, use_cache=False).log_probs


@pytest.mark.parametrize("attention", ["its own", "eager"])
@pytest.mark.parametrize("kind", SHAPES)
def test_likelihoods_and_gradients_are_those_of_rows_apart(kind, attention, batch, bases):
    model = open_base(Base(model=str(bases(kind))))
    if attention == "eager":
        model.set_attn_implementation(attention)
    disable_dropout_in_model(model)
    model = add_adapter(model, {"r": 4, "target_modules": "all-linear"}, 1).train()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    # A mixture could, but for the loss of its routers' balance that TRL adds.
    assert (cannot_share(model, 16) is None) == (kind != "mixtral")
    share_prompts(model)
    found = {}
    for share in (False, True):
        model.zero_grad()
        logps = _likelihoods(model, batch, share)
        torch.nn.functional.logsigmoid(logps.sum(dim=1).chunk(2)[0]).sum().backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.requires_grad]
        found[share] = logps.detach(), torch.cat(gradients)
    assert float(found[False][0].abs().max()) > 1
    torch.testing.assert_close(found[True][0], found[False][0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[True][1], found[False][1], rtol=1e-3, atol=1e-5)


def test_what_cannot_share_says_why(bases):
    def why(kind, length=16, **fields):
        if kind == "bloom":  # ALiBi by the padding's mask, and no positions
            config = BloomConfig(vocab_size=40, hidden_size=32, n_layer=1, n_head=4)
            model = AutoModelForCausalLM.from_config(config)
        else:
            model = open_base(Base(model=str(bases(kind))))
        for name, value in fields.items():
            setattr(model.config, name, value)
        return cannot_share(model, length)

    assert why("bloom") == "the model takes no positions"
    assert why("gemma2", 64) is None
    assert why("gemma2", 65) == "rows are longer than its attention's window"
    assert why("llama", layer_types=["linear_attention"]) == "not all of its layers take a mask"
    assert why("mixtral") == "its routers' loss counts tokens"
    flash = "flash_attention_2 attention takes no mask"
    assert why("llama", _attn_implementation="flash_attention_2") == flash


def _history(folder):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [(line["loss"], line["grad_norm"]) for line in lines if "grad_norm" in line]


@pytest.mark.parametrize("way", ["adapter", "all weights", "reference in every step", "no mask"])
def test_dpo_learns_the_same_where_prompts_are_shared(way, bases, rows, tmp_path, monkeypatch):
    from finetune.models import pairs
    from finetune.stages import prompts

    model = ModelRef(base=Base(model=str(bases("llama"))))
    if way != "all weights":
        model = run(sft(rows), model, tmp_path / "sft").model
    train = {"learning_rate": 1e-3, "max_steps": 4, "logging_steps": 1, "max_grad_norm": 9.0}
    if way == "reference in every step":
        train["precompute_ref_log_probs"] = False
    if way == "no mask":
        monkeypatch.setattr(pairs, "_mask", lambda backbone, part: None)
    shared = run(dpo(rows, train=train), model, tmp_path / "shared" / "dpo")
    found = _history(tmp_path / "shared" / "dpo")
    monkeypatch.setattr(prompts, "cannot_share", lambda *_: "so that they do not")
    run(dpo(rows, train=train), model, tmp_path / "apart" / "dpo")
    assert len(found) == 4
    for one, other in zip(found, _history(tmp_path / "apart" / "dpo"), strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    assert shared.facts["prompts_shared"] == (way != "no mask")
