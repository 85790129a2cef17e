"""LoRA's part added in one product: the same numbers as PEFT's, forward and back."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from shapes import SHAPES
from small_stages import dpo, run, sft

from finetune.job import ModelRef
from finetune.models.load import open_base
from finetune.models.lora_sum import InOneProduct, add_in_one_product
from finetune.recipe.types import Base

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("quiet")]
IDS = torch.arange(5, 45).reshape(2, 20)


def adapted(base, *, dtype=None, **more):
    """A base with an adapter whose B is not zero, in training mode."""
    torch.manual_seed(0)
    model = open_base(base)
    config = LoraConfig(target_modules="all-linear", r=4, lora_alpha=12, **more)
    model = get_peft_model(model, config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return (model.to(dtype) if dtype else model).train()


def reading(model):
    """Logits, and the gradient of every trained weight."""
    torch.manual_seed(1)  # dropout
    model.zero_grad()
    out = model(input_ids=IDS, use_cache=False).logits
    out.double().square().sum().backward()
    trained = {n: p.grad.double() for n, p in model.named_parameters() if p.requires_grad}
    return {"logits": out.detach().double(), **trained}


def gap(one, other):
    return max(float((one[n] - other[n]).norm() / one[n].norm()) for n in one)


def taken(model):
    """Layers that add in one product."""
    return [
        layer
        for layer in model.modules()
        if any(isinstance(v, InOneProduct) for v in getattr(layer, "lora_variant", {}).values())
    ]


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_every_architecture_computes_what_peft_computes(kind, bases):
    # torch multiplies by groups of experts in 32 bits at most
    dtype, most = (torch.float32, 1e-5) if kind == "mixtral" else (torch.float64, 1e-12)
    model = adapted(Base(model=str(bases(kind))), dtype=dtype)
    plain = reading(model)
    add_in_one_product(model)
    assert taken(model)
    assert gap(plain, reading(model)) < most


@pytest.mark.parametrize(
    "quantization",
    [{"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, {"load_in_8bit": True}],
    ids=["nf4", "int8"],
)
def test_on_a_quantised_base_too(quantization, bases):
    base = Base(model=str(bases("llama")), dtype="float32", quantization=quantization)
    model = adapted(base)
    plain = reading(model)
    add_in_one_product(model)
    assert taken(model)
    assert gap(plain, reading(model)) < 1e-5


def test_dropout_rank_scaling_and_several_adapters_stay_what_they_are(bases):
    base = Base(model=str(bases("llama")))
    model = adapted(base, dtype=torch.float64, lora_dropout=0.3, use_rslora=True)
    model.add_adapter("second", LoraConfig(target_modules=["q_proj"], r=2, init_lora_weights=False))
    model.to(torch.float64).base_model.set_adapter(["default", "second"])
    plain = reading(model)
    add_in_one_product(model)
    assert any(len(layer.lora_variant) == 2 for layer in taken(model))
    assert gap(plain, reading(model)) < 1e-12


@pytest.mark.parametrize("more", [{"use_dora": True}, {"lora_bias": True}], ids=["dora", "bias"])
def test_what_is_not_this_sum_is_left_to_peft(more, bases):
    model = adapted(Base(model=str(bases("llama"))), dtype=torch.float64, **more)
    plain = reading(model)
    add_in_one_product(model)
    assert not taken(model)
    assert gap(plain, reading(model)) == 0


def test_nothing_is_rounded_that_was_not(bases):
    """A float32 adapter on a bfloat16 base: PEFT adds in float32, and rounds once."""
    model = adapted(Base(model=str(bases("llama")), dtype="bfloat16"))
    plain = reading(model)
    add_in_one_product(model)
    assert gap(plain, reading(model)) == 0


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_comes_no_further_from_the_truth(autocast, bases):
    base = Base(model=str(bases("llama")), dtype="float32" if autocast else "bfloat16")
    dtype = None if autocast else torch.bfloat16
    model = adapted(base, dtype=dtype)

    def off():
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return gap(exact, reading(model))

    double = adapted(base, dtype=dtype).to(torch.float64)
    exact = reading(double)
    plain = off()
    add_in_one_product(model)
    assert 0 < off() <= 1.1 * plain


def test_a_merge_and_what_is_saved_know_nothing_of_it(bases, tmp_path):
    from safetensors.torch import load_file

    models = [adapted(Base(model=str(bases("llama")))) for _ in range(2)]
    add_in_one_product(models[1])
    for number, model in enumerate(models):
        model.save_pretrained(tmp_path / str(number))
    one, other = (load_file(tmp_path / n / "adapter_model.safetensors") for n in "01")
    assert one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_every_stage_that_trains_an_adapter_has_it(bases, rows, tmp_path, monkeypatch):
    from transformers import Trainer

    found = []
    real = Trainer.train

    def train(self, *args, **given):
        layers = [m for m in self.model.modules() if getattr(m, "lora_variant", None) is not None]
        found.append([sorted(layer.lora_variant) for layer in layers])
        return real(self, *args, **given)

    monkeypatch.setattr(Trainer, "train", train)
    first = run(sft(rows), ModelRef(base=Base(model=str(bases("llama")))), tmp_path / "sft").model
    run(dpo(rows), first, tmp_path / "dpo")
    policy, pair = found
    assert policy and all(len(names) == 1 for names in policy)
    assert pair and all(len(names) == 2 for names in pair)  # the reference's too: equal to the bit
