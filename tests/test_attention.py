"""Ways to compute attention: the recipe's, or the fastest that is here, and the same result."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import flash_stand_in
import pytest
from recipe_text import said
from shapes import make_base
from small_stages import dpo, logits, run, sft
from test_fastest import losses

from finetune.errors import FinetuneError
from finetune.job import ModelRef
from finetune.recipe.types import Base

FLASH = "flash_attention_2"


def recipe(name):
    return f"""\
        base: {{model: tiny-mistral, attn_implementation: {name}}}
        stages:
          - sft: {{data: rows.jsonl, lora: {{}}}}
        """


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sdpa", ""),
        ("flash_attention_2", ""),
        ("flash_atention_2", "did you mean 'flash_attention_2'?"),
        ("kernels-community/flash-attn2", "is code from the hub, and none of it is run here"),
    ],
)
def test_names_are_those_of_transformers_and_code_from_the_hub_is_none(name, message, tmp_path):
    found = said(tmp_path, recipe(name))
    assert message in found
    assert bool(message) == bool(found)


@pytest.fixture
def place(monkeypatch):
    """What speaks for FlashAttention: a GPU, the package, sixteen bits; each can be taken away."""
    import torch

    from finetune.models import attention

    def pretend(gpu=True, installed=True, loads=True, major=8, old=False):
        monkeypatch.setattr(attention, "on_cpu", lambda: not gpu)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, 0))
        monkeypatch.setattr(attention.utils, "is_flash_attn_2_available", lambda: not old)
        monkeypatch.setattr(attention, "find_spec", lambda name: installed or None)
        package = ModuleType("flash_attn")
        package.__spec__ = ModuleSpec("flash_attn", None)
        monkeypatch.setitem(sys.modules, "flash_attn", package if loads else None)

    return pretend


def config(kind="llama", **fields):
    from transformers import AutoConfig

    return AutoConfig.for_model(kind, **fields)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("lacking", "dtype", "shape", "reason"),
    [
        ({}, "bfloat16", {}, ""),
        ({"gpu": False}, "bfloat16", {}, "it needs a GPU"),
        ({"installed": False}, "bfloat16", {}, "pip install flash-attn --no-build-isolation"),
        ({"loads": False}, "bfloat16", {}, "flash-attn does not load"),
        ({"old": True}, "bfloat16", {}, "too old for transformers"),
        ({"major": 7}, "bfloat16", {}, "runs on no GPU this old"),
        ({}, "float32", {}, "computes in 16 bits, and the base is in float32"),
        ({}, "bfloat16", {"head_dim": 512}, "heads of 256 at most, and these have 512"),
        ({}, "bfloat16", {"kind": "mpt"}, "mpt has no flash_attention_2"),
    ],
)
def test_flash_attention_is_taken_where_all_is_there_and_else_refused_with_what_lacks(
    lacking, dtype, shape, reason, place
):
    from finetune.models.attention import attention, check_attention, why

    place(**lacking)
    own = config(**shape)
    assert attention(Base(dtype=dtype), own) == (None if reason else FLASH)
    assert attention(Base(dtype=dtype, attn_implementation="eager"), own) == "eager"
    asked = Base(dtype=dtype, attn_implementation=FLASH)
    if not reason:
        check_attention(asked, own)
        assert why(Base(dtype=dtype), own) == ""  # it made way to something else
        own._attn_implementation = FLASH
        assert why(Base(dtype=dtype), own) == "flash-attn is installed"
        return
    with pytest.raises(FinetuneError) as caught:
        check_attention(asked, own)
    assert reason in str(caught.value)
    assert "or leave base.attn_implementation out" in str(caught.value)


@pytest.mark.heavy
def test_a_way_that_the_architecture_or_the_machine_lacks_stops_a_stage_beforehand(
    bases, rows, tmp_path
):
    for kind, name, reason in (
        ("gemma2", "sdpa", "gemma2 has no sdpa"),
        ("llama", "flex_attention", "it needs a GPU"),
    ):
        base = Base(model=str(bases(kind)), attn_implementation=name)
        with pytest.raises(FinetuneError, match=reason):
            run(sft(rows), ModelRef(base=base), tmp_path / kind)


@pytest.mark.heavy
@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", ["eager", FLASH])
def test_stages_learn_the_same_however_attention_is_computed(
    name, bases, rows, tmp_path, monkeypatch
):
    from finetune.models import attention

    monkeypatch.setattr(attention, "_against", lambda *_: iter(()))
    flash_stand_in.install(monkeypatch)
    train = {**sft(rows).train, "packing": True, "max_length": 64}
    found = {}
    for way in ("sdpa", name):
        base = ModelRef(base=Base(model=str(bases("llama")), attn_implementation=way))
        learnt = run(sft(rows, train=train), base, tmp_path / way / "sft")
        assert f"{way} attention" in learnt.facts["made_with"]
        preferred = run(dpo(rows), learnt.model, tmp_path / way / "dpo")
        assert preferred.facts["step_0_margin"] == pytest.approx(0, abs=1e-6)
        found[way] = [losses(tmp_path / way / stage) for stage in ("sft", "dpo")]
    for mine, theirs in zip(found[name], found["sdpa"], strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


@pytest.mark.heavy
def test_answers_are_the_same_with_flash_attention(tmp_path, monkeypatch):
    from test_generation import LENGTHS, config, opened, together

    from finetune.models import attention
    from finetune.models.load import open_base

    folder = make_base("mistral", tmp_path / "base", sliding_window=16)
    prompts = [[10 + (7 * n + m) % 300 for m in range(n)] for n in LENGTHS]
    plain = opened(folder)
    written = together(plain, prompts, config([2]))
    monkeypatch.setattr(attention, "_against", lambda *_: iter(()))
    flash_stand_in.install(monkeypatch)
    flash = open_base(Base(model=str(folder), dtype="float32", attn_implementation=FLASH))
    assert together(flash, prompts, config([2])) == written
    assert float((logits(flash) - logits(plain)).abs().max()) < 1e-5
    flash.save_pretrained(tmp_path / "saved")
    assert "attn" not in (tmp_path / "saved" / "config.json").read_text()


@pytest.mark.heavy
def test_the_plan_counts_the_scores_that_eager_attention_keeps(bases):
    from finetune.memory.step import Step, training

    step = Step(rows=1, length=200, learnt=10)
    base = str(bases("llama"))
    taken = {
        name: training(Base(model=base, attn_implementation=name), [], step)["activations"]
        for name in (None, "eager", FLASH)
    }
    assert taken[FLASH] == taken[None]
    heads, layers = 4, 2  # a layer keeps its softmax of every head; sdpa one mask for all heads
    assert taken["eager"] - taken[None] > 0.9 * layers * (heads - 1) * 4 * 200**2
