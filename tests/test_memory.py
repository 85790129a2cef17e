"""What a stage takes of memory: closed forms against the libraries' own tensors."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytestmark = pytest.mark.heavy

STEP = {"rows": 4, "length": 32, "learnt": 60}


def bytes_of(tensors):
    return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())


def lora(**fields):
    from peft import LoraConfig

    return LoraConfig(task_type="CAUSAL_LM", **{"r": 8, "target_modules": "all-linear", **fields})


def shape(kind, **changed):
    from shapes import SHAPES

    from finetune.recipe.types import Base

    vocabulary = {"vocab_size": 400, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    return Base(config={"model_type": kind, **SHAPES[kind], **vocabulary, **changed})


def real(base):
    from transformers import AutoModelForCausalLM

    from finetune.models.load import read_config

    return AutoModelForCausalLM.from_config(read_config(base))


def kinds():
    from shapes import SHAPES

    return SHAPES


@pytest.mark.parametrize("kind", kinds())
def test_weights_and_adapter_have_the_bytes_of_the_real_ones(kind):
    from peft import get_peft_model

    from finetune.memory.step import Step, training

    base = shape(kind)
    found = training(base, [lora()], Step(**STEP))
    model = real(base)
    weights = bytes_of([*model.parameters(), *model.buffers()])
    model = get_peft_model(model, lora())
    adapter = bytes_of(p for p in model.parameters() if p.requires_grad)
    assert (found["weights"], found["adapter"]) == (weights, adapter)
    assert found["optimizer"] == 2 * adapter


@pytest.mark.parametrize("way", ["rows", "checkpointed", "pairs"])
@pytest.mark.parametrize("kind", kinds())
def test_a_step_without_numbers_holds_what_the_same_step_with_numbers_holds(kind, way):
    """The same code on real tensors, every storage counted, is the oracle."""
    import torch

    from finetune.memory import step as steps
    from finetune.memory.hollow import put_on
    from finetune.memory.live import Live

    base = shape(kind)
    config = lora(lora_dropout=0.0 if kind == "mixtral" else 0.1)  # PEFT: none on fused experts
    shared = {"pairs": True, "together": 45} if way == "pairs" else {}
    step = steps.Step(**STEP, checkpointing=way == "checkpointed", **shared)
    found = steps.training(base, [config], step)
    torch.manual_seed(0)
    model = steps.prepared(put_on(real(base), [config]), [config], step)
    with Live() as live:
        live.hold([*model.parameters(), *model.buffers()])
        steps.forward_and_back(model, step, live)
        live.turn("", "update")
    peak = max(each.total() for each in live.peaks.values())
    assert sum(found.values()) - found["optimizer"] == pytest.approx(peak, rel=0.005)


def test_chosen_experts_without_numbers_hold_what_chosen_experts_hold():
    import torch

    from finetune.memory import step as steps
    from finetune.memory.live import Live
    from finetune.models.experts import expert_layers, expert_weights, split
    from finetune.recipe.tuning import Esft

    base, step = shape("mixtral"), steps.Step(**STEP)
    found = steps.training(base, [Esft(top_p=0.5)], step)
    torch.manual_seed(0)
    model = real(base)
    layers = expert_layers(model)
    half = {
        name: len(next(iter(expert_weights(each).values()))) // 2 for name, each in layers.items()
    }
    split(model, {name: list(range(count)) for name, count in half.items()})
    chosen = bytes_of(p for p in model.parameters() if p.requires_grad)
    assert (found["adapter"], found["optimizer"]) == (chosen, 2 * chosen)
    with Live() as live:
        live.hold([*model.parameters(), *model.buffers()])
        steps.forward_and_back(model.train(), step, live)
        live.turn("", "update")
    peak = max(each.total() for each in live.peaks.values())
    assert sum(found.values()) - found["optimizer"] == pytest.approx(peak, rel=0.02)


@pytest.mark.parametrize("training", ["lora", "all weights", "checkpointed"])
@pytest.mark.parametrize("kind", ["mistral", "gemma2", "mpt"])
def test_a_deep_model_is_a_line_through_two_shallow_ones(kind, training):
    from finetune.memory import depth, step

    deep = {"n_layers": 10} if kind == "mpt" else {"num_hidden_layers": 10}
    base = shape(kind, **deep)
    adapters = [] if training == "all weights" else [lora()]
    wanted = step.Step(**STEP, checkpointing=training == "checkpointed")
    whole = depth.largest(step.peaks(base, adapters, wanted, 10))
    found = step.training(base, adapters, wanted)
    assert sum(found.values()) == pytest.approx(sum(whole.values()), rel=0.005)
    assert found["weights"] == whole["weights"]


def test_what_checkpointing_saves_is_resident_no_more(tmp_path):
    """Left to itself glibc 2.36 holds several times as much: a process of its own tells."""
    from finetune.chain import child

    if child.method() != "fork":
        pytest.skip("resident memory is read off Linux, on a CPU")
    reply = child.call(_grown_and_told, folder=tmp_path, trace=tmp_path / "error.txt")
    grown, told = reply.value
    assert 0.8 * told < grown < 1.5 * told  # threads have buffers of their own


def _grown_and_told():
    """Bytes that a checkpointed step takes, by the system and by the plan."""
    from pathlib import Path
    from types import SimpleNamespace

    from finetune.memory import step as steps
    from finetune.memory.hollow import put_on
    from finetune.models.load import keep_no_freed_blocks

    def status(name):
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

    base = shape("llama", num_hidden_layers=8, hidden_size=256, intermediate_size=704)
    step = steps.Step(rows=8, length=128, learnt=200, checkpointing=True)
    told = steps.training(base, [lora()], step)
    keep_no_freed_blocks()
    model = steps.prepared(put_on(real(base), [lora()]), [lora()], step)
    unheard = SimpleNamespace(turn=lambda *_: None)
    steps.forward_and_back(model, replace(step, rows=1, length=8, learnt=8), unheard)
    Path("/proc/self/clear_refs").write_text("5")  # the largest resident size begins anew
    before = status("VmRSS")
    steps.forward_and_back(model, step, unheard)
    return status("VmHWM") - before, told["activations"] + told["logits"]


def test_packed_weights_have_the_bytes_that_bitsandbytes_gives_them():
    import torch
    from bitsandbytes.functional import int8_vectorwise_quant, quantize_4bit

    from finetune.memory.parts import packed

    weights = torch.randn(384, 448)
    for double in (False, True):
        data, state = quantize_4bit(weights, compress_statistics=double, quant_type="nf4")
        scales = [state.absmax, state.state2.absmax] if double else [state.absmax]
        assert packed(384 * 448, 4, double=double) == bytes_of([data, *scales])
    data, scales, _ = int8_vectorwise_quant(weights.half())
    assert packed(384 * 448, 8, rows=384) == bytes_of([data, scales])


@pytest.mark.parametrize(
    "optim",
    ["adamw_torch_fused", "adafactor", "sgd", "adamw_8bit", "paged_lion_8bit", "lion_32bit"],
)
def test_an_optimizer_has_the_bytes_that_its_own_state_has_after_a_step(optim):
    import torch
    from transformers import Trainer, TrainingArguments

    from finetune.memory.parts import optimizer

    model = torch.nn.Sequential(torch.nn.Linear(96, 80, bias=False), torch.nn.Linear(80, 8))
    kind, arguments = Trainer.get_optimizer_cls_and_kwargs(
        TrainingArguments(optim=optim, use_cpu=True), model
    )
    stepped = kind(model.parameters(), **arguments)
    model(torch.randn(2, 96)).sum().backward()
    stepped.step()
    tables = ("qmap1", "qmap2")  # one for all tensors
    states = {
        id(value): value.numel() * value.element_size()
        for state in stepped.state.values()
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and value.numel() > 1 and name not in tables
    }
    shapes = [tuple(each.shape) for each in model.parameters()]
    assert optimizer(shapes, 4, optim) == pytest.approx(sum(states.values()), abs=16)


@pytest.mark.parametrize("kind", ["mistral", "mpt", "qwen3", "gemma2", "gpt2"])
def test_the_cache_has_the_bytes_of_the_real_keys_and_values(kind):
    import torch

    from finetune.memory.reading import peaks

    base = shape(kind)
    model = real(base)
    with torch.no_grad():
        kept = model(torch.zeros(3, 10, dtype=torch.long), use_cache=True).past_key_values
    layers = len(kept.layers)
    told = peaks(base, [], "float32", layers, rows=3, prompt=10, new=2)
    size = bytes_of(t for layer in kept.layers for t in (layer.keys, layer.values))
    assert told["prompt"]["cache"] == size
    # A token later one layer's are there twice: as they were, and grown.
    assert size < told["last token"]["cache"] <= size * (1 + 1 / layers) * 1.2


def test_mistral_7b_has_the_number_of_weights_that_its_makers_give():
    from finetune.memory.hollow import hollow_base
    from finetune.recipe.types import Base

    base = Base(config={"model_type": "mistral", "num_key_value_heads": 8, "sliding_window": None})
    import torch

    assert hollow_base(base, torch.bfloat16).num_parameters() == 7_241_732_096
