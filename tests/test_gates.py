"""`require`: what a chain asks of a model's scores before it goes on."""

from dataclasses import replace

import chain_fakes
import pytest
from chain_fakes import compared, recipe
from recipe_text import found, loaded, said

from finetune.chain.plan import make
from finetune.chain.run import run
from finetune.errors import FinetuneError
from finetune.recipe.gates import BASELINES, parse
from finetune.recipe.types import Candidate, Evaluate, Score
from finetune.scoring.gates import check_metrics, failures
from finetune.tasks import TASKS

EVALUATE = """\
base: {model: tiny-mistral}
stages:
  - sft: {data: rows.jsonl, lora: {}}
  - evaluate:
      tasks: [samsum]
      require:
        rougeL: RULE
"""


BARE = EVALUATE.split("      require", maxsplit=1)[0]


@pytest.mark.parametrize(
    ("rule", "sign", "against", "offset"),
    [
        (">= 30", ">=", "", 30),
        ("<1.5", "<", "", 1.5),
        ("> -2", ">", "", -2),
        (">= base + 5", ">=", "base", 5),
        (">= lead-3 - 0.5", ">=", "lead-3", -0.5),
        ("<= dpo", "<=", "dpo", 0),
    ],
)
def test_a_gate_is_a_bound_or_a_distance_from_a_model(rule, sign, against, offset):
    gate = parse("rougeL", rule, ("samsum",))
    assert (gate.sign, gate.against, gate.offset) == (sign, against, offset)
    assert parse("rougeL", gate.bound, ()) == gate


def test_a_metric_may_be_named_with_its_task():
    gate = parse("held.out.loss", "< 2", ("held", "held.out"))
    assert (gate.task, gate.metric) in {("held", "out.loss"), ("held.out", "loss")}
    assert parse("samsum.rougeL", "> 1", ("samsum",)).task == "samsum"
    assert parse("rougeL", "> 1", ("samsum",)).task == ""


@pytest.mark.parametrize("rule", ["30", "about 30", ">= base + sft", ">= base 5", "=> 3", ">="])
def test_a_rule_that_is_none_is_a_mistake_in_its_line(tmp_path, rule):
    ((line, message),) = found(tmp_path, EVALUATE.replace("RULE", f"'{rule}'"))
    assert line == 7
    assert "is no bound; write '>= 30', '>= base + 5' or '< base'" in message


def test_a_gate_against_a_model_that_is_not_scored_is_a_mistake(tmp_path):
    text = EVALUATE.replace("RULE", "'>= bse + 5'")
    assert "did you mean 'base'?" in said(tmp_path, text)
    for rule in ("'>= base + 5'", "'>= lead-3'"):
        (stage,) = loaded(tmp_path, EVALUATE.replace("RULE", rule)).stages[1:]
        assert list(stage.require) == ["rougeL"]


def test_the_names_of_baselines_are_those_of_the_tasks():
    row = {"dialogue": "A: b", "query": "SELECT 1"}
    names = [name for task in TASKS.values() for name in task.baselines([row], [row])]
    assert set(names) == set(BASELINES)


def test_a_gate_on_an_unknown_metric_or_one_of_two_tasks_is_refused():
    tasks = (Score(task="samsum"), Score(task="samsum", name="other"))
    with pytest.raises(FinetuneError, match="no task here has the metric 'rouge9'"):
        check_metrics(Evaluate(name="e", tasks=tasks, require={"rouge9": "> 1"}))
    with pytest.raises(FinetuneError, match="is a metric of 2 tasks"):
        check_metrics(Evaluate(name="e", tasks=tasks, require={"rougeL": "> 1"}))
    check_metrics(Evaluate(name="e", tasks=tasks, require={"other.rougeL": "> 1"}))


def judged(rule, **losses):
    stage = Evaluate(name="e", tasks=(Score(task="loss"),), require={"loss": rule})
    return failures(stage, {"loss": compared(losses)})


def test_the_mean_of_the_last_model_decides():
    assert not judged("< base", base=2.0, sft=1.9)
    assert judged("< base", base=2.0, sft=2.0) and judged("< base", base=2.0, sft=1.0, dpo=2.5)
    assert not judged("<= base - 0.5", base=2.0, sft=1.5)
    (text,) = judged(">= base + 5", base=2.0, sft=3.0)
    assert text == (
        "loss of 'sft' is 3 (95% interval 3 to 3), required is >= base + 5 = 7"
    )  # fmt: skip


def test_a_baseline_is_never_the_model_that_is_judged():
    part = compared({"base": 2.0, "sft": 1.0, "lead-3": 9.0}) | {"baselines": ["lead-3"]}
    stage = Evaluate(name="e", tasks=(Score(task="loss"),), require={"loss": "< 2"})
    assert not failures(stage, {"loss": part})


def gated(folder, rule):
    given = recipe(folder)
    stages = tuple(
        replace(each, require={"loss": rule}) if isinstance(each, Evaluate) else each
        for each in given.stages
    )
    return replace(given, stages=stages)


def test_a_gate_stops_the_chain_and_what_is_done_stays(tmp_path, monkeypatch):
    chain_fakes.use(monkeypatch)
    with pytest.raises(FinetuneError, match="evaluate stopped the chain: loss of 'dpo'") as error:
        run(gated(tmp_path, "< -1"))
    assert "'sft', 'dpo' and 'evaluate' are done and will be kept." in str(error.value)
    statuses = {step.stage.name: step.status for step in make(recipe(tmp_path)).steps}
    assert statuses == {"sft": "keep", "dpo": "keep", "evaluate": "keep", "merge": "run"}
    with pytest.raises(FinetuneError, match="evaluate stopped the chain"):
        run(gated(tmp_path, "< -1"))


def test_another_gate_runs_nothing_again(tmp_path, monkeypatch):
    chain_fakes.use(monkeypatch)
    with pytest.raises(FinetuneError):
        run(gated(tmp_path, "< -1"))
    assert run(gated(tmp_path, "> -1")).ran == ("merge",)
    with pytest.raises(FinetuneError, match="evaluate stopped the chain"):
        run(gated(tmp_path, "< -1"))  # of a finished chain too


def test_models_from_outside_stand_under_their_last_name(tmp_path):
    text = BARE + "      models: [base, ../runs/old, tiny-mpt, a/b]\n"
    models = loaded(tmp_path, text).stages[1].models
    assert [(each.name, each.model) for each in models] == [
        ("base", None),
        ("old", "../runs/old"),
        ("tiny-mpt", "tiny-mpt"),
        ("b", "a/b"),
    ]


def test_a_model_from_outside_cannot_take_the_name_of_a_stage(tmp_path):
    for models in ("[base, ./old/sft]", "[base, {name: sft, model: old}]"):
        assert "taken by this recipe" in said(tmp_path, BARE + f"      models: {models}\n")


def test_a_model_from_outside_counts_by_its_content(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.json", "model.safetensors"):
        (other / name).write_text("{}" if name.endswith("json") else "\2\0\0\0\0\0\0\0{}")
    given = recipe(tmp_path)

    def key(path, content):
        (other / "config.json").write_text(content)
        models = (Candidate(name="base"), Candidate(name="old", model=str(path)))
        stages = tuple(
            replace(each, models=models) if isinstance(each, Evaluate) else each
            for each in given.stages
        )
        steps = make(replace(given, stages=stages)).steps
        return next(step.keyed.key for step in steps if step.stage.name == "evaluate")

    first = key(other, "{}")
    moved = tmp_path / "moved"
    moved.symlink_to(other)
    assert key(moved, "{}") == first
    assert key(other, '{"a": 1}') != first


def test_a_model_from_outside_that_is_not_there_is_said_before_anything_runs(tmp_path):
    given = recipe(tmp_path)
    models = (Candidate(name="old", model="./nowhere"),)
    stages = (*given.stages[:2], replace(given.stages[2], models=models))
    with pytest.raises(FinetuneError, match="no such folder") as error:
        make(replace(given, stages=stages))
    assert "evaluate: models: ./nowhere" in str(error.value)
