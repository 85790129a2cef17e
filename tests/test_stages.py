"""Identities that training, hand-over and merge must keep, on tiny random bases."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.chain import mishap
from finetune.errors import FinetuneError
from finetune.job import Job, ModelRef, mark_whole
from finetune.recipe.types import Base, Data, Dpo, Evaluate, Merge, Score, Sft

pytestmark = pytest.mark.heavy

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.1}
TRAIN = {"learning_rate": 1e-2, "num_train_epochs": 2, "save_steps": 2, "logging_steps": 1}


@pytest.fixture(autouse=True, scope="module")
def quiet():
    from finetune.stages.quiet import hush

    hush()


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Files of answers and of pairs."""
    folder = tmp_path_factory.mktemp("rows")
    colours = ["red", "blue", "green", "black"]
    answers = [
        {"prompt": f"Colour of lamp {n}{' please' * (n % 5)}?", "completion": f"{colours[n % 4]}."}
        for n in range(24)
    ]
    pairs = [
        {"prompt": row["prompt"], "chosen": row["completion"], "rejected": "no idea, sorry"}
        for row in answers
    ]
    for name, content in (("answers", answers), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in content))
    return folder


@pytest.fixture(params=[None, NF4], ids=["fp32", "nf4"])
def base(request, random_base):
    return ModelRef(base=Base(model=str(random_base), quantization=request.param))


def job(folder, name, model, **more):
    out = folder / name
    out.mkdir(exist_ok=True)
    return Job(name=name, out=out, seed=7, model=model, **more)


def sft(rows, **train):
    data = Data(path=str(rows / "answers.jsonl"))
    return Sft(name="sft", data=data, lora=LORA, batch_size=8, train={**TRAIN, **train})


def dpo(rows, **train):
    data = Data(path=str(rows / "pairs.jsonl"))
    return Dpo(name="dpo", data=data, batch_size=8, train={**TRAIN, **train})


def run(stage, where):
    from importlib import import_module

    module = import_module(f"finetune.stages.{stage.kind}")
    module.check(stage, where)
    return module.run(stage, where)


def logits_of(ref):
    from finetune.models.fidelity import probe_logits
    from finetune.models.load import open_model
    from finetune.models.tokenizers import load_tokenizer

    return probe_logits(open_model(ref), load_tokenizer(ref.base)[0])


def gap(first, second):
    from finetune.models.fidelity import difference

    return difference(logits_of(first), logits_of(second)).max_logit


def test_a_fresh_adapter_changes_nothing_and_training_changes_it(base, rows, tmp_path):
    from finetune.models.adapters import add_adapter
    from finetune.models.fidelity import difference, probe_logits
    from finetune.models.load import open_model
    from finetune.models.tokenizers import load_tokenizer

    tokenizer, _ = load_tokenizer(base.base)
    fresh = probe_logits(add_adapter(open_model(base), LORA, seed=1).eval(), tokenizer)
    assert difference(fresh, logits_of(base)).max_logit == 0.0
    trained = run(sft(rows), job(tmp_path, "sft", base))
    assert gap(trained.model, base) > 1e-2
    assert trained.facts["loss_last"] < trained.facts["loss_first"]


def test_trainable_parameters_are_those_of_the_formula(random_mistral, rows, tmp_path):
    base = ModelRef(base=Base(model=str(random_mistral)))
    found = run(sft(rows), job(tmp_path, "sft", base)).facts["trainable_parameters"]
    shapes = [(64, 64), (64, 32), (64, 32), (64, 64), (64, 128), (64, 128), (128, 64)]
    assert found == 2 * sum(LORA["r"] * (wide + high) for wide, high in shapes)


def test_adapters_are_kept_in_float32_on_a_quantised_base(base, rows, tmp_path):
    import torch
    from safetensors.torch import load_file

    trained = run(dpo(rows), job(tmp_path, "dpo", run(sft(rows), job(tmp_path, "sft", base)).model))
    weights = load_file(trained.model.adapter / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert any((weight != weight.bfloat16().float()).any() for weight in weights.values())


def test_dpo_starts_at_ln_2_with_the_sft_adapter_as_reference(base, rows, tmp_path):
    learnt = run(sft(rows), job(tmp_path, "sft", base))
    preferred = run(dpo(rows), job(tmp_path, "dpo", learnt.model))
    assert preferred.facts["step_0_loss"] == pytest.approx(0.693147, abs=1e-6)
    assert preferred.facts["step_0_margin"] == 0.0
    assert preferred.facts["last_reward_margin"] > 0
    assert preferred.model.base == learnt.model.base
    assert gap(preferred.model, learnt.model) > 1e-2


def test_dpo_with_another_model_as_reference_is_stopped(base, rows, tmp_path, monkeypatch):
    from finetune.stages import dpo as stage

    learnt = run(sft(rows), job(tmp_path, "sft", base))
    real = stage.ReferenceTrainer

    def forgetful(model, **more):
        trainer = real(model=model, **more)
        for name, weight in trainer.model.named_parameters():
            if ".ref." in name:
                weight.data.zero_()  # the bare base, as with a new adapter in TRL's trainer
        return trainer

    monkeypatch.setattr(stage, "ReferenceTrainer", forgetful)
    monkeypatch.setattr(stage, "write_adapter", lambda *_, **__: None)
    with pytest.raises(FinetuneError, match="before the first step"):
        run(dpo(rows), job(tmp_path, "dpo", learnt.model))


@pytest.mark.parametrize("kind", ["ipo", "hinge", "robust"])
def test_other_losses_start_at_their_known_value(kind, random_mistral, rows, tmp_path):
    base = ModelRef(base=Base(model=str(random_mistral)))
    learnt = run(sft(rows, max_steps=1), job(tmp_path, "sft", base))
    stage = dpo(rows, loss_type=[kind], beta=0.2, max_steps=1)
    found = run(stage, job(tmp_path, "dpo", learnt.model)).facts["step_0_loss"]
    known = {"ipo": 1 / 0.4**2, "hinge": 1.0, "robust": 0.693147}
    assert found == pytest.approx(known[kind], rel=1e-5)


def test_the_base_is_the_same_on_disk_and_in_memory_after_training(base, rows, tmp_path):
    before = logits_of(base)
    weights = {p.name: p.read_bytes() for p in sorted(_folder(base).iterdir())}
    run(sft(rows), job(tmp_path, "sft", base))
    from finetune.models.fidelity import difference

    assert weights == {p.name: p.read_bytes() for p in sorted(_folder(base).iterdir())}
    assert difference(before, logits_of(base)).max_logit == 0.0


def _folder(ref):
    from pathlib import Path

    return Path(ref.base.model)


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_killed_run_resumes_to_the_very_same_adapter(kind, base, rows, tmp_path, monkeypatch):
    from finetune.stages import training

    start = base if kind == "sft" else run(sft(rows), job(tmp_path, "start", base)).model
    stage = sft(rows) if kind == "sft" else dpo(rows)
    whole = run(stage, job(tmp_path, "whole", start)).model.adapter

    attach = training.attach
    monkeypatch.setattr(training, "attach", lambda trainer, *a: _stop_at(3, trainer, attach, a))
    with pytest.raises(KeyboardInterrupt):
        run(stage, job(tmp_path, "stopped", start))
    assert not (tmp_path / "stopped" / "adapter").exists()
    monkeypatch.setattr(training, "attach", attach)
    resumed = run(stage, job(tmp_path, "stopped", start))
    assert resumed.facts["resumed_at_step"] == 2
    name = "adapter_model.safetensors"
    assert (resumed.model.adapter / name).read_bytes() == (whole / name).read_bytes()


def _stop_at(step, trainer, attach, rest):
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == step:
                raise KeyboardInterrupt

    attach(trainer, *rest)
    trainer.add_callback(Stop())


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs a disk that is full")
def test_a_full_disk_is_told_where_torch_only_says_that_it_wrote_less(tmp_path):
    import torch

    with pytest.raises(RuntimeError) as found:
        torch.save({"weights": torch.zeros(1000, 1000)}, "/dev/full")
    assert mishap.translate(found.value, tmp_path).what == "the disk is full"


def test_a_torn_checkpoint_is_passed_over(tmp_path):
    from finetune.stages.callbacks import last_checkpoint

    for step in (2, 10, 12, 14, 16):
        weights = tmp_path / f"checkpoint-{step}" / "adapter" / "weights"
        weights.parent.mkdir(parents=True)
        weights.write_bytes(b"12345678")
        if step != 16:  # killed while it was written
            mark_whole(tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-12" / "adapter" / "weights").write_bytes(b"1234")
    (tmp_path / "checkpoint-14" / "adapter" / "weights").unlink()
    assert last_checkpoint(tmp_path).name == "checkpoint-10"
    assert last_checkpoint(tmp_path / "absent") is None


def test_merged_logits_are_the_adapters(base, rows, tmp_path):
    learnt = run(sft(rows), job(tmp_path, "sft", base))
    merged = run(Merge(name="merge", onto="dequantized"), job(tmp_path, "merge", learnt.model))
    assert gap(merged.model, learnt.model) < 1e-4
    if base.base.quantization:
        assert merged.facts["dequantized_max_logit"] < 1e-4
        assert merged.facts["full_precision_max_logit"] > 1e-3  # rounding is not undone
    else:
        assert merged.facts["merged_max_logit"] < 1e-4
        assert not any("dequantized" in f"{each}" for each in merged.facts.items())


def test_a_saved_adapter_opens_in_plain_peft_and_a_merge_in_plain_transformers(
    random_mistral, rows, tmp_path
):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = ModelRef(base=Base(model=str(random_mistral)))
    learnt = run(sft(rows), job(tmp_path, "sft", base)).model
    merged = run(Merge(name="merge"), job(tmp_path, "merge", learnt)).model
    plain = AutoModelForCausalLM.from_pretrained(random_mistral)
    adapted = PeftModel.from_pretrained(plain, learnt.adapter).eval()
    whole = AutoModelForCausalLM.from_pretrained(merged.base.model).eval()
    ids = AutoTokenizer.from_pretrained(merged.base.model)("the lamp", return_tensors="pt")
    with torch.inference_mode():
        assert (adapted(**ids).logits - whole(**ids).logits).abs().max() < 1e-4


def test_a_model_written_whole_names_the_token_that_its_template_stops_with(
    random_mistral, rows, tmp_path
):
    from transformers import AutoTokenizer, GenerationConfig

    from finetune.data.tokens import stop_ids

    base = ModelRef(base=Base(model=str(random_mistral), chat_template="chatml"))
    trained = run(replace(sft(rows, max_steps=1), lora=None), job(tmp_path, "sft", base)).model
    tokenizer = AutoTokenizer.from_pretrained(trained.base.model)
    assert "eos_token" in tokenizer.chat_template  # no <|im_end|> in its vocabulary: mended
    stops = GenerationConfig.from_pretrained(trained.base.model).eos_token_id
    assert stops == stop_ids(tokenizer) == [tokenizer.eos_token_id]


def test_models_on_one_base_are_measured_as_if_each_were_opened_alone(base, rows, tmp_path):
    learnt = run(sft(rows), job(tmp_path, "sft", base)).model
    preferred = run(dpo(rows), job(tmp_path, "dpo", learnt)).model
    models = {"base": base, "sft": learnt, "dpo": preferred}
    tasks = (
        Score(task="loss", data=Data(path=str(rows / "answers.jsonl"))),
        Score(task="preference", data=Data(path=str(rows / "pairs.jsonl")), reference="sft"),
    )
    stage = Evaluate(name="evaluate", tasks=tasks)
    together = run(stage, job(tmp_path, "together", base, models=models)).scores
    for name in ("base", "dpo"):
        only = {"sft": learnt, name: models[name]}
        alone = run(stage, job(tmp_path, name, base, models=dict(reversed(only.items())))).scores
        assert alone[name] == pytest.approx(together[name], rel=1e-5)
    assert together["sft"]["loss loss"] < together["base"]["loss loss"]
    assert together["dpo"]["preference reward_accuracy"] > 90
    assert "preference reward_accuracy" not in together["sft"]


def test_all_weights_are_trained_without_lora(random_mistral, rows, tmp_path):
    base = ModelRef(base=Base(model=str(random_mistral)))
    stage = replace(sft(rows), lora=None)
    trained = run(stage, job(tmp_path, "sft", base))
    assert trained.model.adapter is None
    assert gap(trained.model, base) > 1e-2


@pytest.mark.parametrize(("lora", "rate"), [(LORA, 2e-4), (None, 2e-5)], ids=["lora", "whole"])
def test_an_adapter_learns_at_ten_times_the_rate_of_all_weights(
    random_mistral, rows, tmp_path, lora, rate
):
    stage = sft(rows, max_steps=1, logging_steps=1)
    train = {key: value for key, value in stage.train.items() if key != "learning_rate"}
    where = job(tmp_path, "sft", ModelRef(base=Base(model=str(random_mistral))))
    run(replace(stage, lora=lora, train=train), where)
    first = json.loads((where.out / "history.jsonl").read_text().splitlines()[0])
    assert first["learning_rate"] == pytest.approx(rate)
