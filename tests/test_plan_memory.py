"""What `finetune plan` says of memory, and what is refused before a run for lack of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from finetune.chain import forecast, foresee, links
from finetune.chain.forecast import Forecast, Place
from finetune.chain.plan import make
from finetune.errors import FinetuneError
from finetune.launch.sharing import Sharing
from finetune.memory.machine import Machine, gpu, named
from finetune.memory.shared import shared
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


def test_sharing_divides_what_the_papers_say():
    parts = {"weights": 800, "gradients": 400, "optimizer": 900, "activations": 70}
    how = {"processes": 4, "trained": 100, "layers": 8}
    assert shared(parts, Sharing(), **how) == parts
    assert shared(parts, Sharing(zero_stage=1), **how) == {**parts, "optimizer": 300}
    second = shared(parts, Sharing(zero_stage=2), **how)
    assert second == {**parts, "optimizer": 300, "gradients": 100}
    third = shared(parts, Sharing(zero_stage=3), **how)
    assert third == {**second, "weights": 200, "gathered": 200}
    offloaded = Sharing(zero_stage=3, offloads_optimizer=True, offloads_weights=True)
    assert shared(parts, offloaded, **how) == {**third, "weights": 0, "optimizer": 0}
    fsdp = shared(parts, Sharing(fsdp=2), **how)
    assert fsdp == {**third, "optimizer": 225}


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
    assert "40 rows" in sft.notes[0]
    saved = dict(foresee.savings(plan.recipe, plan.recipe.stages[0], here, sft.total))
    assert saved["sft.train.gradient_checkpointing: true"] > saved["sft.train.max_length: 128"] > 0


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
