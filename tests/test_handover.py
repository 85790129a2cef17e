"""What becomes of an adapter in the next stage: each way has its own reference, at ln 2."""

import json
import weakref
from dataclasses import replace

import pytest
from shapes import FORMATS
from small_stages import LORA, TRAIN, dpo, logits, run, sft

from finetune.job import ModelRef
from finetune.recipe.types import Base, Data, Evaluate, Score

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("quiet")]


@pytest.fixture(scope="module", params=["fp32", "nf4"])
def learnt(request, bases, rows, tmp_path_factory):
    """A base with a trained adapter."""
    base = Base(model=str(bases("llama")), **FORMATS[request.param])
    return run(sft(rows), ModelRef(base=base), tmp_path_factory.mktemp("sft")).model


def opened(ref):
    from finetune.models.load import open_model

    return logits(open_model(ref))


@pytest.mark.parametrize("lora", ["continue", "new", "merge", {"r": 2}])
def test_a_preference_stage_starts_at_ln_2_against_the_model_before_it(
    lora, learnt, rows, tmp_path, capfd
):
    made = run(dpo(rows, lora=lora), learnt, tmp_path / "dpo")
    assert made.facts["step_0_loss"] == pytest.approx(0.693147, abs=1e-6)
    assert made.facts["step_0_margin"] == 0.0
    number = {"continue": 1, "new": 2, "merge": 1}.get(lora if isinstance(lora, str) else "new")
    assert len(made.model.adapters) == number
    assert not opened(made.model).equal(opened(learnt))
    said = {"continue": "goes on training", "merge": "merges the adapter"}
    assert said.get(str(lora), "stacks a new adapter") in "".join(capfd.readouterr())


def test_a_stacked_adapter_leaves_the_one_below_as_it_was(learnt, rows, tmp_path):
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file

    from finetune.models.load import open_base

    before = (learnt.adapter / "adapter_model.safetensors").read_bytes()
    made = run(sft(rows, lora={"r": 2}, train={**TRAIN, "max_steps": 3}), learnt, tmp_path / "b")
    assert made.model.adapters[0] == learnt.adapter
    assert (learnt.adapter / "adapter_model.safetensors").read_bytes() == before
    ranks = {weight.shape[0] for name, weight in _weights(made.model.adapter) if "lora_A" in name}
    assert ranks == {2}
    assert (
        load_file(made.model.adapter / "adapter_model.safetensors").keys()
        == dict(_weights(learnt.adapter)).keys()
    )

    # By hand: the base's own layers plus both products, in plain PEFT.
    model = PeftModel.from_pretrained(open_base(made.model.base), learnt.adapter)
    model.load_adapter(made.model.adapter, adapter_name="second")
    model.base_model.set_adapter(["second", "default"])
    torch.testing.assert_close(logits(model.eval()), opened(made.model), atol=0, rtol=0)


def _weights(adapter):
    from safetensors.torch import load_file

    return load_file(adapter / "adapter_model.safetensors").items()


def test_new_and_merge_take_the_shape_of_the_adapter_before(learnt, rows, tmp_path):
    shape = json.loads((learnt.adapter / "adapter_config.json").read_text())
    for word in ("new", "merge"):
        made = run(sft(rows, lora=word), learnt, tmp_path / word).model
        again = json.loads((made.adapter / "adapter_config.json").read_text())
        for key in ("r", "lora_alpha", "lora_dropout"):
            assert again[key] == shape[key] == LORA.get(key, 0.0)
        assert set(again["target_modules"]) == set(shape["target_modules"])


def test_merging_first_gives_the_model_before_as_the_base(learnt, rows, tmp_path):
    import torch

    frozen = {**TRAIN, "learning_rate": 1e-30}
    made = run(sft(rows, lora="merge", train=frozen), learnt, tmp_path / "b").model
    assert made.base.quantization == learnt.base.quantization
    whole = replace(learnt.base, model=made.base.model, quantization=None)
    tolerance = 1e-5
    torch.testing.assert_close(opened(ModelRef(base=whole)), opened(learnt), atol=tolerance, rtol=0)


def test_stacks_and_plain_adapters_are_scored_on_one_base_as_if_alone(learnt, rows, tmp_path):
    stacked = run(dpo(rows, lora="new"), learnt, tmp_path / "dpo").model
    models = {"base": ModelRef(base=learnt.base), "sft": learnt, "dpo": stacked}
    score = Score(task="loss", data=Data(path=str(rows / "answers.jsonl")))
    stage = Evaluate(name="evaluate", tasks=(score,))
    together = run(stage, models["base"], tmp_path / "all", models=models).scores
    for name, ref in models.items():
        alone = run(stage, ref, tmp_path / name, models={name: ref}).scores
        assert alone[name] == pytest.approx(together[name], rel=1e-6)
    assert len({row["loss loss"] for row in together.values()}) == 3


def test_a_base_is_opened_when_the_one_before_it_is_gone(bases, rows, tmp_path, monkeypatch):
    from finetune.models import switch

    opened, alive, load = [], [], switch.open_base

    def open_base(base):
        alive.append(sum(each() is not None for each in opened))
        model = load(base)
        opened.append(weakref.ref(model))
        return model

    monkeypatch.setattr(switch, "open_base", open_base)
    models = {
        name: ModelRef(base=Base(model=str(bases("llama")), **FORMATS[name]))
        for name in ("fp32", "nf4")
    }
    score = Score(task="loss", data=Data(path=str(rows / "answers.jsonl")))
    stage = Evaluate(name="evaluate", tasks=(score,))
    run(stage, models["fp32"], tmp_path / "evaluate", models=models)
    assert alive == [0, 0]
