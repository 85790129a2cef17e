"""What `finetune plan` says of memory, and what is refused before a run for lack of it."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.chain import forecast, foresee, links
from finetune.chain.forecast import Forecast, Place
from finetune.chain.plan import make
from finetune.commands.plan import _place as place_of
from finetune.errors import FinetuneError
from finetune.launch.sharing import Sharing
from finetune.memory.machine import Machine, gpu, named
from finetune.memory.shared import LIVE, Share, Whole
from finetune.recipe import load
from finetune.report.forecast import table

CHAIN = """
name: chain
base: {model: tiny-mistral}
stages:
  - sft: {data: {task: samsum, rows: 40}, lora: {r: 8}, train: {max_length: 256}}
  - dpo: {data: {task: samsum, sample: samsum_preferences, rows: 20}, LORA}
  - merge: {}
  - evaluate: {models: [base, dpo, merge], tasks: [{task: samsum, rows: 8}]}
  - export: {from: merge, formats: [safetensors, gguf], gguf: [q8_0, f16], prompts: 3}
"""
JUDGED = """
name: judged
base: {model: tiny-mistral}
stages:
  - evaluate:
      models: [base, {name: again, model: tiny-mistral}]
      tasks:
        - {task: judge, name: near, data: rows.jsonl, rubric: stories, judge: {model: tiny-mistral}}
        - task: judge
          name: far
          data: rows.jsonl
          rubric: pairwise
          against: base
          judge: {model: m, endpoint: "http://localhost:1/v1"}
        - {task: mmlu}
"""
CPU = Machine("here", 10**10, 1e11, 1e10, "cpu")


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """A plan of the chain, with what the second stage does with the adapter before it."""
    monkeypatch.chdir(tmp_path)

    def planned(second: str = "") -> forecast.Plan:
        file = Path("chain.yaml")
        file.write_text(CHAIN.replace(", LORA", f", {second}" if second else ""), "utf-8")
        return make(load(file))

    return planned


@pytest.mark.parametrize(
    ("second", "shapes"),
    [
        ("", ["sft"]),
        ("lora: continue", ["sft"]),
        ("lora: new", ["sft", "sft"]),
        ("lora: merge", ["sft"]),
        ("lora: {r: 4}", ["sft", "dpo"]),
    ],
)
def test_the_adapters_of_a_model_are_known_before_it_is_made(chain, second, shapes):
    recipe = chain(second).recipe
    dpo, merge = recipe.stages[1:3]
    assert [each.name for each in links.adapters(recipe, dpo)] == shapes
    assert links.adapters(recipe, merge) == ()


def test_a_gpu_is_found_by_its_name_and_by_its_drivers_name():
    assert named("NVIDIA GeForce RTX 4090") == gpu("rtx4090")
    assert named("NVIDIA H100 80GB HBM3") == gpu("H100")
    assert named("Tesla T4").half == "float16"
    with pytest.raises(FinetuneError, match="a10g"):
        gpu("a10x")


WHOLE = Whole(weights=800, trained=100, trained_bytes=400, width=4, layers=7, ends=100)


def test_sharing_divides_what_the_papers_say():
    parts = {"weights": 800, "adapter": 8, "gradients": 400, "optimizer": 900, "activations": 70}

    def on_four(updating=False, **how):
        share = Share(sharing=Sharing(**how), processes=4)
        return share.of(parts, WHOLE, updating=updating)

    assert Share().of(parts, WHOLE) == parts
    assert on_four() == {**parts, "gradients": 800}
    first = on_four(zero_stage=1)
    assert first == {**parts, "optimizer": 300}
    second = on_four(zero_stage=2)
    assert second == {**first, "gradients": 100}
    assert on_four(zero_stage=2, updating=True) == {**first, "gradients": 200}
    third = on_four(zero_stage=3)
    assert third == {**second, "weights": 200, "adapter": 2, "gathered": 800}
    fsdp = on_four(fsdp=2)
    assert fsdp == {**third, "optimizer": 225, "gathered": 2 * 100 + 100}
    assert Share(sharing=Sharing(fsdp=2), processes=4).loading(WHOLE) == {"weights": 800}


def test_what_is_offloaded_lies_beside_the_device():
    parts = {"weights": 800, "gradients": 400, "optimizer": 900, "activations": 70}
    both = Sharing(zero_stage=3, offloads_optimizer=True, offloads_weights=True)
    share = Share(sharing=both, processes=4)
    assert share.of(parts, WHOLE) == {"activations": 70, "gathered": 800}
    assert share.beside(WHOLE) == (12 * 100 + 4 * 100 + 800) // 4
    here = replace(share, on_cpu=True)
    assert here.of(parts, WHOLE)["weights"] == 200
    assert here.beside(WHOLE) == 0


@pytest.mark.heavy
@pytest.mark.parametrize("processes", [2, 8])
def test_zero_takes_what_deepspeeds_own_estimate_says(processes):
    stages = pytest.importorskip("deepspeed.runtime.zero.stage_1_and_2")
    from deepspeed.runtime.zero import stage3

    weights, layer = 7 * 10**9, 2 * 10**8
    parts = {"weights": 2 * weights, "gradients": 2 * weights, "optimizer": 4 * weights}
    model = Whole(
        weights=2 * weights, trained=weights, trained_bytes=2 * weights, width=2, layers=32
    )

    def ours(stage, updating=True):
        share = Share(sharing=Sharing(zero_stage=stage), processes=processes)
        return share.of(parts, model, updating=updating)

    _, second = stages.estimate_zero2_model_states_mem_needs(weights, processes, 1, False)
    assert sum(ours(2).values()) == second
    _, third, whole_layer = stage3.estimate_zero3_model_states_mem_needs(
        weights, layer, processes, 1, False, False
    )
    forgotten = 2 * weights // processes  # gradients in 16 bits
    assert sum(ours(3).values()) == third - whole_layer + forgotten
    assert ours(3, updating=False)["gathered"] == 2 * LIVE > whole_layer


@pytest.mark.parametrize(("total", "refused", "warned"), [(99, 0, 0), (105, 0, 1), (120, 1, 0)])
def test_a_stage_is_refused_for_more_than_the_plan_may_err(
    chain, monkeypatch, total, refused, warned
):
    def one(recipe, step, place, before, savings):
        if step.stage.name != "sft":
            return None
        turned = {"optim: adamw_8bit": 30}
        return Forecast(stage="sft", parts={"weights": total}, batch="4 rows", savings=turned)

    monkeypatch.setattr(foresee, "_forecast", one)
    found = foresee.shortage(chain(), Place(machine=replace(CPU, memory=100)))
    assert [len(each) for each in found] == [refused, warned]
    assert all("adamw_8bit" in error.remedy for error in found[0])


def test_a_forecast_is_kept_until_something_of_the_plan_changes(chain, monkeypatch):
    asked = []
    monkeypatch.setattr(
        forecast, "_in_child", lambda *args: asked.append(1) or [Forecast(stage="a")]
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.cwd() / "cache"))
    place = Place(machine=CPU)
    for plan in (chain(), chain(), chain("lora: new")):
        assert forecast.told(plan, place) == [Forecast(stage="a")]
    forecast.told(chain(), Place(machine=gpu("h100")))
    assert len(asked) == 3


def test_the_table_names_what_does_not_fit():
    found = [
        Forecast(stage="sft", parts={"weights": 3 * 10**10}, savings={"batch_size: 2": 10**9}),
        Forecast(stage="dpo", why="cannot be planned: no such kernel"),
    ]
    text = table(found, Place(machine=gpu("a10g")))
    assert "sft does not fit" in text
    assert "batch_size: 2 saves 1.00 GB" in text
    assert "dpo: cannot be planned" in text


def test_a_profile_that_does_not_work_is_refused_with_one_that_does(chain):
    packed = "{model: tiny-mistral, quantization: {load_in_4bit: true}}"
    text = CHAIN.replace("{model: tiny-mistral}", packed).replace(", LORA", "")
    Path("packed.yaml").write_text(text, "utf-8")
    asked = Namespace(gpu="a10g", launch="zero3", num_processes=None)
    with pytest.raises(FinetuneError, match="zero2"):
        place_of(asked, load(Path("packed.yaml")))
    assert place_of(asked, chain().recipe).sharing.zero_stage == 3


def test_a_bar_is_as_long_as_the_memory_and_its_parts_as_their_shares():
    half, third = {"weights": 12, "activations": 12}, {"weights": 8, "logits": 8}
    found = [
        Forecast(stage="sft", parts={part: n * 10**9 for part, n in half.items()}),
        Forecast(stage="evaluate", parts={part: n * 10**9 for part, n in third.items()}),
    ]
    place = Place(machine=replace(CPU, memory=48 * 10**9))
    text = table(found, place)
    assert f"  sft      |{'w' * 12}{'x' * 12}{'.' * 24}|" in text
    assert f"  evaluate |{'w' * 8}{'l' * 8}{'.' * 32}|" in text
    assert "w weights  x activations  l logits" in text
    small = table(found, replace(place, machine=replace(CPU, memory=20 * 10**9)))
    assert f"|{'w' * 24}{'x' * 16}|{'x' * 8}" in small


def test_a_time_is_told_of_rows_that_are_not_here():
    found = [
        Forecast(stage="sft", parts={"weights": 10**9}, seconds=90, assumed=True),
        Forecast(stage="merge", parts={"weights": 10**9}, seconds=0.2),
    ]
    text = table(found, Place(machine=CPU))
    assert "2 min*" in text
    assert "< 1 s" in text
    assert "cannot be read here (`finetune audit RECIPE` says why): for 1,000 of them" in text


@pytest.mark.heavy
def test_time_is_work_over_speed_and_no_less_than_kernels_take_to_start():
    from finetune.stages.planned import FILES, LAYER, REWRITTEN, Need, seconds

    machine = replace(CPU, flops=1e12, mfu=0.5, bandwidth=1e10)
    work = Need(parts={}, batch="", flops=1e12, read=1e10, layers_run=2e3)
    assert seconds(work, machine, 1)[0] == 2 + 1
    assert seconds(replace(work, flops=0), machine, 1)[0] == 2e3 * LAYER
    assert seconds(replace(work, files=FILES, rewritten=2 * REWRITTEN), machine, 3)[0] == 1 + 3


@pytest.mark.heavy
def test_a_plan_of_a_chain_says_what_each_stage_holds(chain):
    plan, here = chain(), Place(machine=CPU)
    found = {each.stage: each for each in foresee.forecasts(plan, here, savings=False)}
    assert not any(each.why for each in found.values())
    sft, dpo, merge, evaluate = (found[name] for name in ("sft", "dpo", "merge", "evaluate"))
    assert sft.parts["weights"] == dpo.parts["weights"] == evaluate.parts["weights"]
    assert dpo.parts["reference"] == dpo.parts["adapter"] == sft.parts["adapter"]
    assert sft.parts["optimizer"] == 2 * sft.parts["adapter"]
    assert merge.total < sft.total
    assert found["export"].parts["weights"] == sft.parts["weights"]
    assert all(each.seconds > 0 for each in found.values())
    assert "40 rows" in sft.notes[0]
    (whole,) = foresee.forecasts(replace(plan, steps=plan.steps[:1]), here, savings=True)
    saved = whole.savings
    assert saved["sft.train.gradient_checkpointing: true"] > saved["sft.train.max_length: 128"] > 0


@pytest.mark.heavy
def test_the_plan_counts_the_learnt_tokens_of_the_batches_that_training_has(chain):
    import torch

    from finetune.data.order import most_together
    from finetune.data.pairs import fit, token_ids
    from finetune.data.tokens import encode
    from finetune.memory.hollow import hollow_base
    from finetune.models.tokenizers import load_tokenizer
    from finetune.stages import lengths, training
    from finetune.tasks.examples import conversations, pairs

    recipe = chain().recipe
    sft, dpo = recipe.stages[:2]
    tokenizer, _ = load_tokenizer(recipe.base)

    at_once = 5  # with four, two pairs of one length fall into two batches, in either order

    def in_training(rows):
        plan = training.plan({}, len(rows), at_once, None)
        order = training.order(plan, [length for length, _ in rows], at_once, 7)
        return most_together([rows[row][1] for row in order], at_once)

    rows = [(len(x.input_ids), x.learnt) for x in encode(tokenizer, conversations(sft.data), None)]
    assert lengths.of_conversations(sft, tokenizer, None).batch(at_once)[1] == in_training(rows)
    fitted = [fit(tokenizer, pair, 64) for pair in pairs(dpo.data)]
    answers = [token_ids(tokenizer, each.pair)[1:] for each in fitted]
    rows = [(f.length, sum(map(len, two))) for f, two in zip(fitted, answers, strict=True)]
    model = hollow_base(recipe.base, torch.float32)
    assert lengths.of_pairs(dpo, tokenizer, 64, model).batch(at_once)[1] == in_training(rows)


@pytest.mark.heavy
def test_a_judge_here_is_planned_and_of_one_behind_an_endpoint_requests_are_told(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    lines = (json.dumps({"prompt": f"Once there was a dog, number {n}."}) for n in range(5))
    Path("rows.jsonl").write_text("\n".join(lines), "utf-8")
    Path("judged.yaml").write_text(JUDGED, "utf-8")
    plan = make(load(Path("judged.yaml")))
    (found,) = foresee.forecasts(plan, Place(machine=CPU), savings=False)
    assert not found.why
    assert found.batch.startswith("near, judge: 10 prompts")  # one of each model's five answers
    assert any("far: 10 questions to the judge m's endpoint" in note for note in found.notes)
    assert any("lm-evaluation-harness" in note for note in found.notes)


@pytest.mark.heavy
def test_a_plan_asks_no_network_though_the_libraries_were_there_before(chain, monkeypatch):
    import datasets
    from huggingface_hub import constants

    seen = []

    def look(*_):
        seen.append((constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE))

    monkeypatch.setattr(foresee, "_forecast", look)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    foresee.forecasts(chain(), Place(machine=CPU), savings=False)
    assert set(seen) == {(True, True)}
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.heavy
def test_of_a_base_that_is_not_here_the_plan_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("far.yaml").write_text(CHAIN.replace("tiny-mistral", "a/b").replace(", LORA", ""), "utf-8")
    plan = make(load(Path("far.yaml")))
    found = foresee.forecasts(replace(plan, steps=plan.steps[:1]), Place(machine=CPU), False)
    assert "hf download a/b config.json" in found[0].why


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "weights"),
    [("mistralai/Mistral-7B-v0.3", 7_248_023_552), ("mosaicml/mpt-7b", 6_649_286_656)],
)
def test_bases_of_shipped_recipes_are_planned_without_their_files(name, weights):
    from finetune.recipe.types import Base
    from finetune.stages import planned

    model = planned.known(planned.Model(Base(model=name)))
    assert planned.count(model.base) == weights
