"""Every shape of base in every number format: opened, adapted, trained, handed over, read back."""

from pathlib import Path

import pytest
from shapes import FORMATS, SHAPES
from small_stages import LORA, dpo, logits, run, sft

from finetune.job import ModelRef
from finetune.recipe.types import Base

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("quiet")]


def formula(model, rank):
    """r (in + out) for each linear layer but the head: LoRA's parameters (Hu et al. 2021).

    Of fused experts each is such a layer, `gate_up_proj` two, and the router is one.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    head, total = model.get_output_embeddings(), 0
    for module in model.modules():
        if module is head:
            continue
        if isinstance(module, Conv1D):
            total += rank * sum(module.weight.shape)
        elif isinstance(module, torch.nn.Linear):
            total += rank * (module.in_features + module.out_features)
    for name, weight in model.named_parameters():
        if weight.dim() == 3:
            experts, high, wide = weight.shape
            total += experts * rank * (high + wide) * (2 if "gate_up" in name else 1)
        elif name.endswith("gate.weight"):
            total += rank * sum(weight.shape)
    return total


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("kind", SHAPES)
def test_a_base_is_adapted_trained_handed_over_and_read_back(kind, fmt, bases, rows, tmp_path):
    from peft import PeftModel

    from finetune.models.adapters import add_adapter
    from finetune.models.load import open_base, open_model

    folder = bases(kind)
    base = Base(model=str(folder), **FORMATS[fmt])
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    plain = open_base(base)
    untouched, parameters = logits(plain), formula(plain, LORA["r"])
    fresh = add_adapter(plain, LORA, seed=1).eval()
    assert logits(fresh).equal(untouched)

    learnt = run(sft(rows), ModelRef(base=base), tmp_path / "sft")
    assert learnt.facts["trainable_parameters"] == parameters
    preferred = run(dpo(rows), learnt.model, tmp_path / "dpo")
    assert preferred.facts["step_0_loss"] == pytest.approx(0.693147, abs=1e-6)
    assert preferred.facts["step_0_margin"] == 0.0
    ours = logits(open_model(preferred.model))
    assert not ours.equal(untouched)
    theirs = PeftModel.from_pretrained(open_base(base), preferred.model.adapter).eval()
    assert logits(theirs).equal(ours)
    assert before == {file.name: file.read_bytes() for file in Path(folder).iterdir()}
