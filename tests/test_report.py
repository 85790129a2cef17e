"""The closing table: scores side by side, the best marked where one is ahead."""

from dataclasses import replace

import chain_fakes
import pytest
from chain_fakes import recipe

from finetune.chain.run import run
from finetune.recipe.types import Evaluate, Score
from finetune.report import table
from finetune.report.layout import WIDTH, columns, number


@pytest.fixture
def outcome(tmp_path, monkeypatch):
    chain_fakes.use(monkeypatch)
    return run(recipe(tmp_path))


def scored(outcome, scores, *tasks):
    """The outcome with other scores."""
    steps = [
        replace(step, stage=replace(step.stage, tasks=tasks))
        if isinstance(step.stage, Evaluate)
        else step
        for step in outcome.plan.steps
    ]
    records = dict(outcome.records)
    records["evaluate"] = replace(records["evaluate"], scores=scores)
    return replace(outcome, plan=replace(outcome.plan, steps=tuple(steps)), records=records)


def test_models_are_rows_and_metrics_columns_and_the_best_is_marked(outcome):
    scores = {
        "base": {"samsum rouge1": 20.0, "samsum empty": 1.0, "samsum length": 30.0},
        "sft": {"samsum rouge1": 41.126, "samsum empty": 0.0, "samsum length": 12.0},
    }
    text = table.closing(scored(outcome, scores, Score(task="samsum")))
    assert text.splitlines()[:4] == [
        "samsum  rouge1   empty  length",
        "base    20.00   1.000   30.00",
        "sft     41.13*  0.000*  12.00",
        "* best of the column",
    ]


def test_a_tie_and_a_metric_without_direction_are_not_marked(outcome):
    scores = {
        "base": {"loss loss": 1.5, "loss other": 1.0},
        "sft": {"loss loss": 1.5, "loss other": 2.0},
    }
    text = table.closing(scored(outcome, scores, Score(task="loss")))
    assert "*" not in text


def test_lower_is_better_for_a_loss_under_any_name(outcome):
    scores = {"base": {"held out loss": 1.5}, "sft": {"held out loss": 1.2}}
    text = table.closing(scored(outcome, scores, Score(task="loss", name="held out")))
    assert "1.200*" in text


def test_confidence_stands_beside_its_metric(outcome):
    scores = {"base": {"samsum rouge1": 20.0, "samsum rouge1 ±": 1.25}}
    text = table.closing(scored(outcome, scores, Score(task="samsum")))
    assert "20.00 ± 1.250" in text


def test_two_tasks_stand_one_below_the_other(outcome):
    scores = {"base": {"samsum rouge1": 20.0, "loss loss": 2.0}}
    text = table.closing(scored(outcome, scores, Score(task="samsum"), Score(task="loss")))
    assert text.index("samsum  rouge1") < text.index("loss    loss")


def test_warnings_and_other_library_versions_are_shown_again(outcome):
    sft = outcome.records["sft"]
    made = {**sft.made, "versions": {**sft.made["versions"], "trl": "0.1"}}
    records = outcome.records | {"sft": replace(sft, made=made, warnings=["3 rows were cut"])}
    text = table.closing(replace(outcome, records=records, ran=()))
    assert "sft: 3 rows were cut" in text
    assert "sft made with trl 0.1 (now " in text


def test_the_merged_model_comes_with_the_line_that_loads_it(outcome):
    text = table.closing(outcome)
    assert "AutoModelForCausalLM.from_pretrained(" in text
    assert "merge-" in text


def test_no_line_is_wider_than_the_terminal(outcome):
    records = {name: replace(each, facts={}) for name, each in outcome.records.items()}
    facts = dict.fromkeys(table.MAIN_FACTS, 0.123456)
    records["sft"] = replace(records["sft"], facts=facts)
    lines = table._stages(replace(outcome, records=records)).splitlines()
    assert max(map(len, lines)) <= WIDTH


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.693147, "0.693"),
        (41.1289, "41.13"),
        (14732, "14 732"),
        (0.0000412, "4.1e-05"),
        (0.0, "0.000"),
        (float("nan"), "nan"),
        (True, "True"),
        ("dequantized", "dequantized"),
    ],
)
def test_numbers_have_as_many_digits_as_mean_something(value, text):
    assert number(value) == text


def test_columns_line_up():
    rows = [["a", "b"], ["long name", "1"]]
    assert columns(rows, right=True) == "a          b\nlong name  1"
    assert columns(rows, right=False) == "a          b\nlong name  1"
