"""Adapters of every kind: where they start, what they train, and what plain PEFT reads."""

from dataclasses import replace

import pytest
from shapes import FORMATS
from small_stages import LORA, TRAIN, dpo, logits, run, sft

from finetune.errors import FinetuneError
from finetune.job import ModelRef
from finetune.recipe.fields import named
from finetune.recipe.tuning import LoraPlus
from finetune.recipe.types import Base

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("quiet")]

# Settings that make a method fit layers 32 and 64 wide.
SMALL = {
    "adalora": {"init_r": 6, "target_r": 3, "tinit": 1, "tfinal": 1, "deltaT": 1},
    "c3a": {"block_size": 16},
    "fourierft": {"n_frequency": 50},
    "miss": {"r": 4},
    "road": {"group_size": 16},
    "shira": {"r": 2},
    "vblora": {"vector_length": 16, "num_vectors": 32},
    "waveft": {"n_frequency": 50},
}
REWRITING = ["pissa", "pissa_niter_4", "olora", "corda", "lora_ga"]
NEUTRAL = ["gaussian", "orthogonal", "eva", "mica"]


def base_of(bases, kind="llama", fmt="fp32"):
    return ModelRef(base=Base(model=str(bases(kind)), **FORMATS[fmt]))


def plain(ref):
    """The model as transformers and PEFT alone open it."""
    from peft import PeftModel

    from finetune.models.load import open_base

    return PeftModel.from_pretrained(open_base(ref.base), ref.adapter).eval()


def opened(ref):
    from finetune.models.load import open_model

    return logits(open_model(ref))


def policy_of(stage, model, folder):
    """What the stage would train, before its first step."""
    from finetune.data.encoded import RowReader
    from finetune.data.tokens import encode
    from finetune.job import Job
    from finetune.models.policy import open_policy
    from finetune.models.tokenizers import load_tokenizer
    from finetune.tasks.examples import conversations

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer, _ = load_tokenizer(model.base)
    rows = encode(tokenizer, conversations(stage.data), None)
    job = Job(name=stage.name, out=folder, seed=7, model=model)
    return open_policy(stage, job, RowReader(len(rows), rows.__getitem__))


@pytest.mark.parametrize(
    ("kind", "start"),
    [("llama", start) for start in NEUTRAL + REWRITING]
    + [("gpt2", start) for start in ("eva", "pissa", "corda", "lora_ga")],
)
def test_a_start_leaves_the_base_as_it_is_and_its_adapter_loads_on_it(
    kind, start, bases, rows, tmp_path
):
    import torch

    base = base_of(bases, kind)
    before = opened(base)
    stage = sft(rows, lora={**LORA, "init_lora_weights": start})
    fresh = logits(policy_of(stage, base, tmp_path / "fresh").model.eval())
    exact = start in ("gaussian", "eva", "mica")
    torch.testing.assert_close(fresh, before, atol=0 if exact else 1e-5, rtol=0)

    made = run(stage, base, tmp_path / "sft")
    ours, theirs = opened(made.model), logits(plain(made.model))
    assert theirs.equal(ours)
    assert (ours - before).abs().max() > 1e-3
    preferred = run(dpo(rows), made.model, tmp_path / "dpo")
    assert preferred.facts["step_0_margin"] == 0.0


def test_what_pissa_learnt_is_what_is_saved(bases, rows, tmp_path, monkeypatch):
    """The logits in memory at the end of training, and those of the adapter on the plain base."""
    import torch

    from finetune.models import policy

    seen, real = [], policy.save_policy

    def spy(made, trainer, tokenizer, job):
        seen.append(logits(trainer.model.eval()))
        return real(made, trainer, tokenizer, job)

    from finetune.stages import sft as stage_module

    monkeypatch.setattr(stage_module, "save_policy", spy)
    stage = sft(rows, lora={**LORA, "init_lora_weights": "pissa", "use_dora": True})
    made = run(stage, base_of(bases), tmp_path / "sft")
    torch.testing.assert_close(opened(made.model), seen[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("start", ["pissa", "olora", "corda", "lora_ga"])
def test_on_a_quantised_base_what_is_left_is_quantised_and_nearer_to_the_base(
    start, bases, rows, tmp_path
):
    base, full = base_of(bases, fmt="nf4"), opened(base_of(bases))
    stage = sft(rows, lora={**LORA, "r": 16, "init_lora_weights": start})
    policy = policy_of(stage, base, tmp_path / "fresh")
    found = (logits(policy.model.eval()) - full).pow(2).mean()
    rounded = (opened(base) - full).pow(2).mean()
    assert found < rounded * (1.0 if start in ("pissa", "olora") else 1.5)
    made = run(stage, base, tmp_path / "sft").model
    assert made.base.model != base.base.model
    assert made.base.quantization == base.base.quantization
    assert logits(plain(made)).equal(opened(made))
    assert run(dpo(rows), made, tmp_path / "dpo").facts["step_0_margin"] == 0.0


def test_loftq_is_nearer_to_the_base_before_rounding(bases, rows, tmp_path):
    base, full = base_of(bases, fmt="nf4"), opened(base_of(bases))
    stage = sft(rows, lora={**LORA, "r": 16, "init_lora_weights": "loftq"})
    policy = policy_of(stage, base, tmp_path / "fresh")
    found = (logits(policy.model.eval()) - full).pow(2).mean()
    assert found < 0.7 * (opened(base) - full).pow(2).mean()
    made = run(stage, base, tmp_path / "sft").model
    assert made.base == base.base
    assert logits(plain(made)).equal(opened(made))


def test_olora_on_transposed_layers_is_refused_before_anything_runs(bases, rows):
    from finetune.models.configs import check_places

    stage = sft(rows, lora={"init_lora_weights": "olora"})
    check_places(base_of(bases).base, stage)
    with pytest.raises(FinetuneError, match="Choose another start"):
        check_places(base_of(bases, "gpt2").base, stage)


def test_eva_takes_the_directions_in_which_the_data_varies(bases, rows, tmp_path):
    """By hand: right singular vectors of the first layer's inputs at the learnt tokens."""
    import torch

    base = base_of(bases)
    lora = {"r": 2, "init_lora_weights": "eva", "eva_config": {"rho": 1.0}}
    stage = sft(rows, lora={**lora, "target_modules": ["q_proj"]})
    policy = policy_of(stage, base, tmp_path / "fresh")
    found = policy.model.base_model.model.model.layers[0].self_attn.q_proj.lora_A["default"].weight
    assert found.shape == (2, 32)
    assert torch.allclose(found @ found.T, torch.eye(2), atol=1e-4)


def test_eva_without_enough_data_says_so(bases, rows, tmp_path):
    stage = sft(rows, lora={"r": 200, "init_lora_weights": "eva"})
    with pytest.raises(FinetuneError, match="EVA needs at least 400 tokens"):
        policy_of(stage, base_of(bases), tmp_path / "fresh")


@pytest.mark.parametrize("method", named("peft."))
def test_each_method_of_peft_trains_and_loads(method, bases, rows, tmp_path):
    base = base_of(bases)
    train = {**TRAIN, "max_steps": 4 if method == "adalora" else 2}
    stage = sft(rows, train=train, lora=None, peft={"method": method, **SMALL.get(method, {})})
    made = run(stage, base, tmp_path / "sft")
    ours = opened(made.model)
    assert not ours.equal(opened(base))
    assert logits(plain(made.model)).equal(ours)
    if method != "adalora":
        preferred = run(dpo(rows), made.model, tmp_path / "dpo")
        assert preferred.facts["step_0_margin"] == 0.0


def test_ranks_by_pattern_and_whole_modules_are_trained_and_saved(bases, rows, tmp_path):
    lora = {**LORA, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3}}
    made = run(sft(rows, lora={**lora, "modules_to_save": ["lm_head"]}), base_of(bases), tmp_path)
    from safetensors.torch import load_file

    saved = load_file(made.model.adapter / "adapter_model.safetensors")
    ranks = {
        name.split(".")[-3]: weight.shape[0] for name, weight in saved.items() if "_A." in name
    }
    assert ranks["q_proj"] == 2
    assert ranks["k_proj"] == 4
    assert any("lm_head" in name for name in saved)
    assert logits(plain(made.model)).equal(opened(made.model))


def test_loraplus_moves_b_by_its_ratio_in_the_first_step(bases, rows, tmp_path):
    """AdamW's first step is the learning rate for every weight: B's is 16 times as long."""
    from safetensors.torch import load_file

    train = {**TRAIN, "max_steps": 1, "learning_rate": 1e-4, "weight_decay": 0.0}
    steps = {}
    for name, plus in (("plain", None), ("plus", LoraPlus(lr_ratio=16.0))):
        stage = replace(sft(rows, train=train), loraplus=plus)
        made = run(stage, base_of(bases), tmp_path / name).model
        saved = load_file(made.adapter / "adapter_model.safetensors")
        steps[name] = max(w.abs().max().item() for n, w in saved.items() if "lora_B" in n)
    assert steps["plain"] == pytest.approx(1e-4, rel=1e-2)
    assert steps["plus"] == pytest.approx(16e-4, rel=1e-2)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])  # heads of their own, and tied ones
@pytest.mark.parametrize("fmt", ["fp32", "nf4"])
def test_added_tokens_are_learnt_saved_with_the_adapter_and_restored(
    kind, fmt, bases, rows, tmp_path
):
    from peft import PeftModel
    from transformers import AutoTokenizer

    from finetune.models.load import open_base, open_model
    from finetune.models.tokenizers import load_tokenizer

    ref = base_of(bases, kind, fmt)
    base = replace(ref.base, add_tokens=("Lamp", "<new>"))
    tokenizer, _ = load_tokenizer(base)
    ids = tokenizer.convert_tokens_to_ids(["Lamp", "<new>"])
    made = run(sft(rows), ModelRef(base=base), tmp_path / "sft").model
    preferred = run(dpo(rows), made, tmp_path / "dpo")
    assert preferred.facts["step_0_margin"] == 0.0
    before, after = open_base(base), open_model(made)
    assert before.get_input_embeddings().weight.shape[0] == max(ids) + 1
    rows_of = [m.get_input_embeddings()(_tensor(ids)) for m in (before, after)]
    assert (rows_of[0] - rows_of[1])[0].abs().max() > 1e-3
    size = (made.adapter / "adapter_model.safetensors").stat().st_size
    assert size < 120_000  # rows of two tokens, not the embeddings

    theirs = open_base(ref.base)  # no tokens added: what someone else does with the folder
    saved = AutoTokenizer.from_pretrained(made.adapter)
    assert saved.convert_tokens_to_ids(["Lamp", "<new>"]) == ids
    theirs.resize_token_embeddings(len(saved), mean_resizing=False)
    assert logits(PeftModel.from_pretrained(theirs, made.adapter).eval()).equal(logits(after))


def _tensor(ids):
    import torch

    return torch.tensor(ids)


def test_a_token_that_the_tokenizer_has_is_refused(bases):
    from finetune.models.tokenizers import load_tokenizer

    base = replace(base_of(bases).base, add_tokens=("[INST]",))
    with pytest.raises(FinetuneError, match="'\\[INST\\]' already"):
        load_tokenizer(base)
