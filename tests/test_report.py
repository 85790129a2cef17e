"""The closing table: scores side by side, the best marked where one is ahead."""

from dataclasses import replace

import chain_fakes
import pytest
from chain_fakes import recipe

from finetune.chain.run import run
from finetune.report import table
from finetune.report.compared import LEGEND, scores
from finetune.report.layout import WIDTH, columns, number
from finetune.scoring.files import COMPARISON, write_object


@pytest.fixture
def outcome(tmp_path, monkeypatch):
    chain_fakes.use(monkeypatch)
    return run(recipe(tmp_path))


def part(models, metrics, **more):
    """One task of a comparison; `models` is {model: {metric: (mean, half width)}}."""
    ends = {
        model: {
            name: {"mean": mean, "low": mean - half, "high": mean + half}
            for name, (mean, half) in numbers.items()
        }
        for model, numbers in models.items()
    }
    rows = [{"name": name, "better": better, "unit": "%"} for name, better in metrics.items()]
    empty = {"rows": 9, "against": next(iter(models)), "pairs": {}, "baselines": []}
    return {**empty, "metrics": rows, "models": ends, **more}


def test_models_are_rows_and_metrics_columns_and_the_best_is_marked():
    models = {
        "base": {"rouge1": (20.0, 1.25), "empty": (1.0, 0.5), "length": (30.0, 2.0)},
        "sft": {"rouge1": (41.126, 1.0), "empty": (0.0, 0.0), "length": (12.0, 1.0)},
    }
    metrics = {"rouge1": "higher", "empty": "lower", "length": "neither"}
    assert scores({"samsum": part(models, metrics)}).splitlines() == [
        "samsum (9)       rouge1         empty       length",
        "base        20.00 ±1.2   1.000 ±0.50   30.00 ±2.0",
        "sft         41.13 ±1.0*     0.000 ±0*  12.00 ±1.0",
        "",
        LEGEND,
    ]


def test_a_tie_and_a_metric_without_direction_are_not_marked():
    models = {"base": {"a": (1.5, 0), "b": (1, 0)}, "sft": {"a": (1.5, 0), "b": (2, 0)}}
    text = scores({"loss": part(models, {"a": "lower", "b": "neither"})})
    assert "*" not in text.removesuffix(LEGEND)


PAIR = {"difference": 1, "low": 0, "high": 2, "p": 0.5, "wins": 1, "ties": 8, "losses": 0}


@pytest.mark.parametrize(
    ("means", "headline"),
    [
        ({"exact": (0, 0), "length": (3, 9), "rouge": (1, 2)}, "rouge"),
        ({"exact": (0, 1), "length": (3, 9), "rouge": (1, 2)}, "exact"),
        ({"exact": (0, 0), "length": (3, 9), "rouge": (1, 1)}, "exact"),
        ({"length": (3, 9)}, "length"),
    ],
)
def test_models_are_compared_on_the_first_metric_that_tells_them_apart(means, headline):
    better = {"exact": "higher", "length": "neither", "rouge": "higher"}
    models = {
        model: {name: (values[at], 0) for name, values in means.items()}
        for at, model in enumerate(("base", "sft"))
    }
    models["lead_3"] = dict.fromkeys(means, (7, 0))
    pairs = {"sft": dict.fromkeys(means, PAIR)}
    metrics = {name: better[name] for name in means}
    text = scores({"t": part(models, metrics, pairs=pairs, baselines=["lead_3"])})
    assert f"{headline} against base" in text


def test_a_metric_that_a_model_does_not_have_leaves_a_dash():
    models = {"base": {"a": (1, 0), "b": (2, 0)}, "sft": {"a": (1, 0)}}
    lines = scores({"t": part(models, {"a": "lower", "b": "higher"})}).splitlines()
    assert lines[2].split()[-1] == "-"


def test_the_headline_metric_is_compared_row_by_row():
    pair = {"difference": 2.5, "low": -0.5, "high": 5.5, "p": 0.0713, "wins": 5, "ties": 1}
    models = {"base": {"a": (1, 0)}, "sft": {"a": (3.5, 0)}}
    more = {"pairs": {"sft": {"a": {**pair, "losses": 3}}}}
    lines = scores({"t": part(models, {"a": "higher"}, **more)}).splitlines()
    assert (
        " ".join(lines[-4].split()) == "a against base difference 95% interval p wins ties losses"
    )
    assert " ".join(lines[-3].split()) == "sft +2.500 -0.500 to +5.500 0.0713 5 1 3"


def test_many_metrics_stand_in_tables_no_wider_than_the_terminal():
    names = [f"metric{n}" for n in range(20)]
    models = {
        model: dict.fromkeys(names, (12.345, 1.234)) for model in ("base", "sft", "longest-3")
    }
    text = scores({"samsum": part(models, dict.fromkeys(names, "higher"))})
    assert max(map(len, text.splitlines())) <= WIDTH
    assert all(name in text for name in names)


def test_a_finished_evaluation_stands_in_the_closing_table(outcome):
    found = {"samsum": part({"base": {"rouge1": (20.0, 1.0)}}, {"rouge1": "higher"})}
    write_object(outcome.records["evaluate"].folder / COMPARISON, found)
    assert table.closing(outcome).startswith("samsum (9)")


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
