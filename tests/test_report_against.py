"""Runs compared: what differs, whose scores are beside each other, and how sure a difference is."""

import json
import shutil

import pytest
import report_run
from test_report_page import Page

from finetune.errors import FinetuneError
from finetune.report.against import compare_runs, labels, page
from finetune.report.gather import gather
from finetune.report.layout import number
from finetune.report.settings import differing

SETTINGS = {
    "seed": 7,
    "stage": {
        "name": "evaluate",
        "models": [{"name": "base", "start": "base"}],
        "tasks": [{"task": "samsum", "name": "samsum", "data": None, "metrics": []}],
    },
}


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two runs on the same rows, the second with half of the gains and another learning rate."""
    from finetune.recipe.types import Evaluate, Score

    stage = Evaluate(name="evaluate", tasks=(Score(task="samsum", name="samsum"),))
    monkeypatch.setattr("finetune.report.paired.read_settings", lambda folder: (stage, 7))
    recipe = report_run.RECIPE.replace("samsum}", "samsum}, train: {learning_rate: 0.1}")
    return [
        report_run.make(tmp_path / "first"),
        report_run.make(tmp_path / "second", rate=0.5, recipe=recipe),
    ]


@pytest.fixture
def shown(folders):
    return Page(page([gather(folder) for folder in folders]))


def test_scores_of_both_runs_stand_in_one_table(shown):
    found = {(float(value), text) for value, text in shown.cells}
    for rate in (1.0, 0.5):
        models = report_run.comparison(rate)["samsum"]["models"]
        means = [value["mean"] for values in models.values() for value in values.values()]
        assert {(mean, number(mean)) for mean in means} <= found
    assert "dpo · second" in shown.text


def test_models_of_one_name_are_compared_row_by_row(folders, shown):
    gains = [
        [
            json.loads(line)["scores"]["dpo"]["rouge1"]
            for line in next(folder.glob("evaluate-*/scores-samsum.jsonl")).open()
        ]
        for folder in folders
    ]
    difference = sum(b - a for a, b in zip(*gains, strict=True)) / report_run.ROWS
    assert any(float(value) == pytest.approx(difference) for value, _ in shown.cells)
    wins = sum(b > a for a, b in zip(*gains, strict=True))
    losses = sum(b < a for a, b in zip(*gains, strict=True))
    assert f"{wins} / {report_run.ROWS - wins - losses} / {losses}" in shown.text


def test_other_rows_are_not_compared(folders):
    file = next(folders[1].glob("evaluate-*/predictions-samsum.jsonl"))
    lines = file.read_text("utf-8").splitlines()
    changed = json.dumps({**json.loads(lines[0]), "prompt": "another one"})
    text = "\n".join([changed, *lines[1:]]) + "\n"
    file.write_text(text, encoding="utf-8")
    record = next(folders[1].glob("evaluate-*/record.json"))
    data = json.loads(record.read_text())
    data["files"][file.name] = file.stat().st_size
    record.write_text(json.dumps(data))
    text = Page(page([gather(folder) for folder in folders])).text
    assert "Not scored on the same rows" in text


def test_only_keys_that_differ_are_listed(folders):
    found = dict(differing([gather(folder) for folder in folders]))
    assert found == {"sft.train.learning_rate": ["–", "0.1"]}


def test_versions_of_a_stage_that_one_run_lacks_are_not_told_as_a_difference(folders, tmp_path):
    third = report_run.make(tmp_path / "third", stages=("sft",))
    found = dict(differing([gather(folders[0]), gather(third)]))
    assert not [key for key in found if "made with" in key]
    record = next(third.glob("sft-*/record.json"))
    record.write_text(record.read_text().replace("1.15.9", "1.15.8"))
    found = dict(differing([gather(folders[0]), gather(third)]))
    assert found["sft made with trl"] == ["1.15.9", "1.15.8"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ((["{}"], ["{r: 16}"]), {"lora.r": ["8", "16"]}),
        ((["{}"], ["{r: 8, lora_dropout: 0.0}"]), {}),
        ((["{r: 4}"], ["continue"]), {"lora.r": ["4", "–"], "lora": ["–", "continue"]}),
        ((["{}", "max_steps: 9"], []), {"lora": ["{}", "–"], "train.max_steps": ["9", "–"]}),
        (
            (["{}", "weight_decay: 0.1"], ["{r: 16}", "learning_rate: 0.1"]),
            {
                "lora.r": ["8", "16"],
                "train.weight_decay": ["0.1", "0.0"],
                "train.learning_rate": ["–", "0.1"],  # of an adapter it is the chain's own
            },
        ),
    ],
)
def test_what_a_recipe_leaves_out_is_compared_as_the_default_it_is(tmp_path, settings, told):
    runs = []
    for name, given in zip(("one", "other"), settings, strict=True):
        lora, *train = given or [""]
        block = "".join(
            [", lora: " * bool(lora), lora, *(f", train: {{{each}}}" for each in train)]
        )
        recipe = report_run.RECIPE.replace("samsum}", f"samsum}}{block}")
        runs.append(gather(report_run.make(tmp_path / name, recipe=recipe)))
    assert dict(differing(runs)) == {f"sft.{key}": values for key, values in told.items()}


def test_stages_and_tasks_are_told_by_their_names(folders, tmp_path):
    tasks = "- evaluate: {tasks: [{task: samsum}, {task: loss, name: held out, rows: 3}]}\n"
    third = report_run.make(tmp_path / "third", recipe=report_run.RECIPE + tasks)
    found = dict(differing([gather(folders[0]), gather(third)]))
    assert found["evaluate.tasks.held out.rows"] == ["–", "3"]


def test_hostile_text_stays_text_and_ids_are_given_once(shown):
    assert not shown.handlers
    assert "script" not in shown.tags
    assert len(set(shown.ids)) == len(shown.ids)


def test_runs_have_names_that_tell_them_apart(folders, tmp_path):
    other = tmp_path / "else" / "first"
    shutil.copytree(folders[0], other)
    assert labels([gather(each) for each in folders]) == ["first", "second"]
    names = labels([gather(folders[0]), gather(other)])
    assert names == [f"{tmp_path.name}/first", "else/first"]


def test_a_run_given_twice_is_refused(folders):
    with pytest.raises(FinetuneError, match="given twice"):
        compare_runs([folders[0], folders[0]])


def test_the_page_is_written_where_it_is_asked_for(folders, tmp_path):
    file = compare_runs(folders, tmp_path / "both.html")
    assert Page(file.read_text("utf-8")).tags.count("h1") == 1
