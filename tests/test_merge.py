"""Merged models are the adapters they were made from, whatever the kind, and take little memory."""

import json
import math
import re
import shutil
from typing import get_args, get_type_hints

import pytest
from shapes import FORMATS, make_base

from finetune.errors import FinetuneError
from finetune.job import Job, ModelRef
from finetune.recipe.leaving import Combine
from finetune.recipe.types import Base, Data, Evaluate, Merge, Score

pytestmark = pytest.mark.heavy

TARGETS = {
    "mistral": ["q_proj", "v_proj", "down_proj"],
    "mpt": ["Wqkv", "down_proj"],
    "gpt2": ["c_attn", "c_proj"],
    "mixtral": ["q_proj", "v_proj"],
}
EMBEDDINGS = {"mistral": "embed_tokens", "mpt": "wte", "gpt2": "wte"}
# The kinds of PEFT that merge by layer, with what makes them small enough.
METHODS = {
    "LORA": {"r": 4},
    "ADALORA": {"total_step": 10},
    "BOFT": {"boft_block_size": 16},
    "C3A": {"block_size": 16},
    "DELORA": {},
    "FOURIERFT": {"n_frequency": 50},
    "GRALORA": {},
    "HRA": {},
    "IA3": {"feedforward_modules": ["down_proj"]},
    "LN_TUNING": {"target_modules": ["input_layernorm"]},
    "LOHA": {},
    "LOKR": {},
    "MISS": {"r": 16},
    "OFT": {"oft_block_size": 16},
    "RANDLORA": {},
    "VBLORA": {"vector_length": 16, "num_vectors": 8},
    "VERA": {},
    "WAVEFT": {"n_frequency": 50},
    "OSF": {},
}
LORAS = {
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "bias": {"bias": "all"},
    "tokens": {"trainable_token_indices": [3, 4]},
    "pissa": {"init_lora_weights": "pissa"},
}


WHERE = ["target_embedding", "target_head", "save_embedding", "save_head"]
COMBINATIONS = get_args(get_type_hints(Combine)["combination_type"])


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Folders of random bases by shape, made when they are first asked for."""
    made = {}

    def base(shape):
        if shape not in made:
            made[shape] = make_base(shape, tmp_path_factory.mktemp(shape))
        return made[shape]

    return base


def adapter(folder, base, kind="LORA", seed=1, size=0.05, **fields):
    """Save an adapter whose weights have all been moved; the base's biases with them if trained."""
    import torch
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING, get_peft_model
    from transformers import AutoModelForCausalLM

    config = PEFT_TYPE_TO_CONFIG_MAPPING[kind](task_type="CAUSAL_LM", **fields)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype="float32"), config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += size * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder)
    return folder


def logits(base, adapter=None):
    """Of plain transformers and PEFT."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.inference_mode():
        return model.eval()(input_ids=torch_ids()).logits


def is_merged_exactly(base, folder, tmp_path, limit=30_000):
    """Merge an adapter and compare; returns how it was merged."""
    from finetune.models.merging import merge

    how = merge(
        ModelRef(base=Base(model=str(base), dtype="float32"), adapters=(folder,)),
        "full_precision",
        tmp_path / "merged",
        limit=limit,
    )
    wanted, found = logits(base, folder), logits(tmp_path / "merged")
    assert (wanted - logits(base)).abs().max() > 1e-3
    assert (wanted - found).abs().max() < 1e-5
    return how


@pytest.mark.parametrize("kind", METHODS)
def test_every_kind_of_adapter_is_merged_into_what_it_was(kind, bases, tmp_path):
    fields = {"target_modules": TARGETS["mistral"], **METHODS[kind]}
    folder = adapter(tmp_path / "adapter", bases("mistral"), kind, **fields)
    how = is_merged_exactly(bases("mistral"), folder, tmp_path)
    assert how == ("whole" if kind == "OSF" else "by layer")


def test_the_kinds_said_to_merge_by_layer_are_those_tested():
    from finetune.models.merging import BY_LAYER

    assert set(METHODS) - {"OSF"} == BY_LAYER


@pytest.mark.parametrize("shape", ["mistral", "mpt", "gpt2"])
@pytest.mark.parametrize("kind", LORAS)
def test_every_lora_is_merged_into_what_it_was(kind, shape, bases, tmp_path):
    fields = {"target_modules": TARGETS[shape], "r": 4, **LORAS[kind]}
    folder = adapter(tmp_path / "adapter", bases(shape), **fields)
    how = is_merged_exactly(bases(shape), folder, tmp_path)
    assert how == ("whole" if kind == "pissa" else "by layer")


@pytest.mark.parametrize("shape", ["mistral", "mpt", "gpt2"])
@pytest.mark.parametrize("where", WHERE)
def test_embeddings_that_an_adapter_changes_are_untied(where, shape, bases, tmp_path):
    how, _, end = where.partition("_")
    layer = "lm_head" if end == "head" else EMBEDDINGS[shape]
    fields = {"target_modules": TARGETS[shape], "r": 4}
    if how == "target":
        fields["target_modules"] = [*TARGETS[shape], layer]
    else:
        fields["modules_to_save"] = [layer]
    folder = adapter(tmp_path / "adapter", bases(shape), **fields)
    assert is_merged_exactly(bases(shape), folder, tmp_path) == "by layer"


def test_experts_that_loading_fuses_are_merged_whole(bases, tmp_path):
    fields = {"target_modules": TARGETS["mixtral"], "r": 4}
    folder = adapter(tmp_path / "adapter", bases("mixtral"), **fields)
    assert is_merged_exactly(bases("mixtral"), folder, tmp_path) == "whole"


def test_stacked_adapters_are_merged_together(bases, tmp_path):
    from finetune.models.load import open_model
    from finetune.models.merging import merge

    base = Base(model=str(bases("mistral")), dtype="float32")
    folders = tuple(
        adapter(tmp_path / str(seed), bases("mistral"), seed=seed, target_modules=names, r=4)
        for seed, names in ((1, ["q_proj", "v_proj"]), (2, ["v_proj", "o_proj"]))
    )
    ref = ModelRef(base=base, adapters=folders)
    assert merge(ref, "full_precision", tmp_path / "merged") == "by layer"
    wanted = open_model(ref)(input_ids=torch_ids()).logits
    assert (wanted - logits(tmp_path / "merged")).abs().max() < 1e-5
    assert (wanted - logits(bases("mistral"), folders[0])).abs().max() > 1e-3


def torch_ids():
    import torch

    return torch.arange(5, 45)[None]


def test_shards_have_the_size_asked_for_and_an_index(bases, tmp_path):
    folder = adapter(tmp_path / "adapter", bases("mistral"), target_modules=["q_proj"], r=4)
    is_merged_exactly(bases("mistral"), folder, tmp_path, limit=60_000)
    index = json.loads((tmp_path / "merged" / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in (tmp_path / "merged").glob("*.safetensors"))
    assert sorted(set(index["weight_map"].values())) == files
    assert len(files) > 2
    assert all(re.fullmatch(r"model-\d{5}-of-\d{5}\.safetensors", name) for name in files)


def test_no_more_than_a_shard_of_weights_is_held_at_once(bases, tmp_path, monkeypatch):
    from finetune.models import shards

    most = []
    flush = shards.ShardWriter._flush

    def measured(self):
        most.append(sum(each.numel() * each.element_size() for each in self._pending.values()))
        flush(self)

    monkeypatch.setattr(shards.ShardWriter, "_flush", measured)
    folder = adapter(tmp_path / "adapter", bases("mistral"), target_modules=["q_proj"], r=4)
    is_merged_exactly(bases("mistral"), folder, tmp_path, limit=60_000)
    assert max(most) <= 60_000


def test_prompt_tuning_cannot_be_merged_and_that_is_said(bases, tmp_path):
    from finetune.models.merging import merge

    folder = adapter(tmp_path / "adapter", bases("mistral"), "PROMPT_TUNING", num_virtual_tokens=4)
    ref = ModelRef(base=Base(model=str(bases("mistral"))), adapters=(folder,))
    with pytest.raises(FinetuneError, match="nothing can be merged"):
        merge(ref, "full_precision", tmp_path / "merged")


def run(stage, tmp_path, ref, **more):
    from finetune.stages import merge

    out = tmp_path / stage.name
    out.mkdir(exist_ok=True)
    return merge.run(stage, Job(name=stage.name, out=out, seed=7, model=ref, **more))


@pytest.mark.parametrize("number_format", ["int8", "nf4"])
@pytest.mark.parametrize("shape", ["mistral", "mpt"])
def test_on_a_quantised_base_the_dequantised_merge_is_nearer(shape, number_format, bases, tmp_path):
    base = Base(model=str(bases(shape)), **FORMATS[number_format])
    folder = adapter(tmp_path / "adapter", bases(shape), target_modules=TARGETS[shape], r=4)
    ref = ModelRef(base=base, adapters=(folder,))
    facts = run(Merge(name="merge"), tmp_path, ref).facts
    # int8 rounds what goes into a layer too, which no merged weight can repeat
    assert facts["dequantized_max_logit"] < (1e-5 if number_format == "nf4" else 5e-2)
    assert facts["dequantized_mean_kl"] <= facts["full_precision_mean_kl"]
    assert not (tmp_path / "merge" / ".other").exists()


def test_a_merge_scores_the_adapter_and_both_ways_on_the_tasks_it_names(bases, rows, tmp_path):
    """On the same rows as an evaluation, by its code: equal models have equal scores."""
    base = Base(model=str(bases("mistral")), **FORMATS["nf4"])
    folder = adapter(tmp_path / "adapter", bases("mistral"), target_modules=["q_proj"], r=4)
    ref = ModelRef(base=base, adapters=(folder,))
    task = Score(task="loss", data=Data(path=str(rows / "answers.jsonl")))
    done = run(Merge(name="merge", tasks=(task,)), tmp_path, ref, models={"base": ref})
    losses = {name: found["loss loss"] for name, found in done.scores.items()}
    assert list(losses) == ["adapter", "full_precision", "dequantized"]
    assert losses["dequantized"] == pytest.approx(losses["adapter"], abs=1e-5)
    assert losses["full_precision"] != pytest.approx(losses["adapter"], abs=1e-5)
    assert done.facts["dequantized_max_logit"] < 1e-5
    assert not (tmp_path / "merge" / ".other").exists()
    alone = Job(name="evaluate", out=tmp_path, seed=7, model=ref, models={"adapter": ref})
    from finetune.stages import evaluate

    wanted = evaluate.run(Evaluate(name="evaluate", tasks=(task,)), alone).scores
    assert wanted["adapter"]["loss loss"] == losses["adapter"]


def test_logits_that_are_no_numbers_are_no_small_difference():
    import torch

    from finetune.models.fidelity import difference

    fine, broken = torch.zeros(3, 5), torch.full((3, 5), float("nan"))
    found = difference([fine, fine], [fine, broken])
    assert all(math.isnan(each) for each in (found.max_logit, found.mean_logit, found.mean_kl))


@pytest.mark.parametrize("method", ["gptq", "bitsandbytes"])
def test_nothing_is_merged_into_packed_weights(method, bases, tmp_path):
    from finetune.models.merging import check_base_merges

    folder = shutil.copytree(bases("mistral"), tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    packed = {"quant_method": method, "bits": 4, "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": packed}))
    base = Base(model=str(folder))
    with pytest.raises(FinetuneError, match=rf"packed weights of this checkpoint \({method}\)"):
        check_base_merges(base, "full_precision")
    if method == "bitsandbytes":
        check_base_merges(base, "dequantized")


def test_a_merge_further_away_than_its_tolerance_is_refused(bases, tmp_path):
    base = Base(model=str(bases("mistral")), **FORMATS["nf4"])
    folder = adapter(tmp_path / "adapter", bases("mistral"), target_modules=["q_proj"], r=4)
    ref = ModelRef(base=base, adapters=(folder,))
    strict = Merge(name="merge", onto="full_precision", tolerance=1e-9)
    with pytest.raises(FinetuneError, match=r"more than the tolerance 1e-09\n.*dequantized"):
        run(strict, tmp_path, ref)
    assert run(Merge(name="loose", onto="full_precision", tolerance=None), tmp_path, ref).model


@pytest.fixture
def two(bases, tmp_path):
    """Two adapters of one base, moved in different directions."""
    return {
        name: ModelRef(
            base=Base(model=str(bases("mistral")), dtype="float32"),
            adapters=(
                adapter(
                    tmp_path / name, bases("mistral"), seed=seed, target_modules=["q_proj"], r=4
                ),
            ),
        )
        for name, seed in (("a", 1), ("b", 2))
    }


def combined(tmp_path, two, **settings):
    stage = Merge(name="merge", combine=Combine(adapters=tuple(two), **settings))
    return run(stage, tmp_path, two["a"], models=two)


def weight(folder):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    return model.model.layers[0].self_attn.q_proj.weight.data


def delta(ref):
    """What an adapter adds to the first query projection, by the formula: (alpha / r) B A."""
    from safetensors.torch import load_file

    config = json.loads((ref.adapter / "adapter_config.json").read_text())
    found = load_file(ref.adapter / "adapter_model.safetensors")
    factors = [
        found[f"base_model.model.model.layers.0.self_attn.q_proj.lora_{each}.weight"]
        for each in "BA"
    ]
    return config["lora_alpha"] / config["r"] * factors[0] @ factors[1]


def test_adapters_together_are_the_weighted_sum_of_what_each_adds(two, bases, tmp_path):
    result = combined(tmp_path, two, weights=(0.7, -0.2))
    wanted = weight(bases("mistral")) + 0.7 * delta(two["a"]) - 0.2 * delta(two["b"])
    assert (weight(result.model.base.model) - wanted).abs().max() < 1e-6
    assert result.facts["adapters"] == "a + b"


def test_the_combined_adapter_is_saved_for_plain_peft(two, bases, tmp_path):
    result = combined(tmp_path, two)
    alone = logits(bases("mistral"), tmp_path / "merge" / "adapter")
    assert (alone - logits(result.model.base.model)).abs().max() < 1e-5


@pytest.mark.parametrize("kind", COMBINATIONS)
def test_an_adapter_combined_with_itself_and_nothing_dropped_is_itself(kind, two, bases, tmp_path):
    copy = shutil.copytree(two["a"].adapter, tmp_path / "copy")
    same = {"a": two["a"], "b": ModelRef(base=two["a"].base, adapters=(copy,))}
    density = None if kind in {"cat", "linear", "svd"} else 1.0
    result = combined(tmp_path, same, combination_type=kind, density=density)
    wanted = weight(bases("mistral")) + delta(two["a"])
    assert (weight(result.model.base.model) - wanted).abs().max() < 1e-5


def test_dare_drops_the_same_values_for_the_same_seed(two, tmp_path):
    settings = {"combination_type": "dare_linear", "density": 0.5}
    first = weight(combined(tmp_path, two, **settings).model.base.model)
    again = weight(combined(tmp_path, two, **settings).model.base.model)
    assert (first == again).all()


@pytest.mark.parametrize("fields", [{"use_dora": True}, {"use_rslora": True}, {"bias": "all"}])
def test_what_peft_would_leave_out_of_a_combination_is_refused(fields, two, bases, tmp_path):
    folder = adapter(tmp_path / "c", bases("mistral"), target_modules=["q_proj"], r=4, **fields)
    models = {"a": two["a"], "c": ModelRef(base=two["a"].base, adapters=(folder,))}
    with pytest.raises(FinetuneError, match="'c' cannot be combined"):
        combined(tmp_path, models)


def test_adapters_of_different_bases_are_not_combined(two, bases, tmp_path):
    models = {
        "a": two["a"],
        "b": ModelRef(base=Base(model="tiny-mistral"), adapters=two["b"].adapters),
    }
    with pytest.raises(FinetuneError, match="different models"):
        combined(tmp_path, models)
