"""Bases as they come: quantised already, moved, of another shape, lacking tokens or a template."""

import json
import shutil
from dataclasses import replace

import pytest
from shapes import FORMATS, make_base
from small_stages import LORA, dpo, logits, run, sft

from finetune.errors import FinetuneError
from finetune.job import ModelRef
from finetune.recipe.types import Base, Merge

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("quiet")]

MORE_FORMATS = {
    "fp16": {"dtype": "float16"},
    "fp4": {
        "dtype": "float32",
        "quantization": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    },
    "nf4 in bf16": {
        "dtype": "bfloat16",
        "quantization": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    },
}


@pytest.mark.parametrize("fmt", MORE_FORMATS)
def test_a_number_format_trains_and_hands_over(fmt, bases, rows, tmp_path):
    base = ModelRef(base=Base(model=str(bases("llama")), **MORE_FORMATS[fmt]))
    learnt = run(sft(rows), base, tmp_path / "sft")
    preferred = run(dpo(rows), learnt.model, tmp_path / "dpo")
    assert preferred.facts["step_0_margin"] == 0.0


class Installed:
    """A quantiser whose packages are all there."""

    def __init__(self, config, **kwargs):
        pass

    def validate_environment(self, **kwargs):
        pass


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True},
        {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
    ],
    ids=["gptq", "awq"],
)
def test_a_checkpoint_quantised_elsewhere_says_what_it_needs_before_anything_runs(
    quantization, bases, rows, tmp_path, monkeypatch
):
    folder = shutil.copytree(bases("llama"), tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": quantization}))
    name = quantization["quant_method"]
    with pytest.raises(FinetuneError, match=f"quantised with {name}, which cannot be opened here"):
        run(sft(rows), ModelRef(base=Base(model=str(folder))), tmp_path / "sft")
    both = Base(model=str(folder), **FORMATS["nf4"])
    with pytest.raises(FinetuneError, match=f"quantised already \\({name}\\)"):
        run(sft(rows), ModelRef(base=both), tmp_path / "both")
    monkeypatch.setattr("transformers.quantizers.auto.AUTO_QUANTIZER_MAPPING", {name: Installed})
    with pytest.raises(FinetuneError, match=f"packed weights of this checkpoint \\({name}\\)"):
        run(sft(rows, lora="merge"), ModelRef(base=Base(model=str(folder))), tmp_path / "merge")


def test_a_checkpoint_that_bitsandbytes_wrote_is_opened_as_it_is(bases, rows, tmp_path):
    from finetune.models.load import open_base
    from finetune.models.tokenizers import load_tokenizer

    base = Base(model=str(bases("llama")), **FORMATS["nf4"])
    model, (tokenizer, _) = open_base(base), load_tokenizer(base)
    model.save_pretrained(tmp_path / "written")
    tokenizer.save_pretrained(tmp_path / "written")
    written = Base(model=str(tmp_path / "written"), dtype="float32")
    again = open_base(written)
    assert again.is_loaded_in_4bit
    assert logits(again).equal(logits(model))
    learnt = run(sft(rows), ModelRef(base=written), tmp_path / "sft")
    assert run(dpo(rows), learnt.model, tmp_path / "dpo").facts["step_0_margin"] == 0.0
    merged = run(Merge(name="merge"), learnt.model, tmp_path / "merge")
    assert merged.facts["merged_max_logit"] < 1e-5
    with pytest.raises(FinetuneError, match="packed weights"):
        run(Merge(name="full", onto="full_precision"), learnt.model, tmp_path / "full")
    with pytest.raises(FinetuneError, match="so its weights cannot be trained"):
        run(sft(rows, lora=None), ModelRef(base=written), tmp_path / "all")


@pytest.fixture(scope="module")
def learnt(bases, rows, tmp_path_factory):
    base = Base(model=str(bases("llama")), **FORMATS["fp32"])
    return run(sft(rows), ModelRef(base=base), tmp_path_factory.mktemp("sft")).model


def test_an_adapter_of_another_base_of_the_same_shape_is_refused(learnt, tmp_path):
    from finetune.models.load import open_model
    from finetune.models.switch import opened

    other = make_base("llama", tmp_path / "other", seed=2)
    ref = replace(learnt, base=replace(learnt.base, model=str(other)))
    with pytest.raises(FinetuneError, match="trained on other weights than those of"):
        open_model(ref)
    with pytest.raises(FinetuneError, match="trained on other weights than those of"):
        list(opened(ref.base, {"sft": ref}))
    moved = shutil.copytree(learnt.base.model, tmp_path / "moved")
    open_model(replace(learnt, base=replace(learnt.base, model=str(moved))))


@pytest.mark.parametrize("kind", ["mistral", "mpt"])
def test_an_adapter_that_does_not_fit_says_so_in_one_line(kind, learnt, bases, tmp_path):
    """Made elsewhere, so that only shapes and names of layers can tell."""
    from finetune.models.load import open_model

    adapter = shutil.copytree(learnt.adapter, tmp_path / "adapter")
    (adapter / "base.json").unlink()
    base = Base(model=str(bases(kind)), **FORMATS["fp32"])
    with pytest.raises(FinetuneError, match="this adapter does not fit the base") as caught:
        open_model(ModelRef(base=base, adapters=(adapter,)))
    assert len(str(caught.value).splitlines()) == 2


def test_a_base_whose_revision_has_moved_is_refused(bases, rows, tmp_path, monkeypatch):
    """A hub's cache in which `main` points at one commit while training, at another later."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    commits = {seed: str(seed) * 40 for seed in (1, 2)}
    for seed, commit in commits.items():
        make_base("llama", repository / "snapshots" / commit, seed=seed)
    head = repository / "refs" / "main"
    head.write_text(commits[1])
    base = Base(model="someone/tiny", dtype="float32")
    ref = run(sft(rows), ModelRef(base=base), tmp_path / "sft").model
    head.write_text(commits[2])
    with pytest.raises(FinetuneError, match="someone/tiny has moved") as caught:
        run(dpo(rows), ref, tmp_path / "dpo")
    assert f"Set base.revision: {commits[1]}" in str(caught.value)
    pinned = replace(ref, base=replace(base, revision=commits[1]))
    assert run(dpo(rows), pinned, tmp_path / "again").facts["step_0_margin"] == 0.0


def test_a_real_base_without_padding_token_and_template_is_tuned(realdata, rows, tmp_path, capfd):
    """260,000 parameters that somebody trained: a Llama on short stories."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = realdata / "stories260k"
    base = ModelRef(base=Base(model=str(folder), dtype="float32"))
    learnt = run(sft(rows, lora={**LORA, "init_lora_weights": "pissa"}), base, tmp_path / "sft")
    preferred = run(dpo(rows, lora="new"), learnt.model, tmp_path / "dpo")
    assert preferred.facts["step_0_loss"] == pytest.approx(0.693147, abs=1e-6)
    said = "".join(capfd.readouterr())
    assert "no chat template" in said
    assert "no padding token" in said
    plain = AutoModelForCausalLM.from_pretrained(folder)
    adapted = PeftModel.from_pretrained(plain, learnt.model.adapter).eval()
    from finetune.models.load import open_model

    assert logits(adapted).equal(logits(open_model(learnt.model)))
