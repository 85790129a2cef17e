"""Scores from files: what models wrote is all that scoring needs."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from jsonl import jsonl

from finetune.chain import record as records
from finetune.chain.record import Record
from finetune.chain.rescore import rescore
from finetune.errors import FinetuneError
from finetune.recipe.types import Candidate, Data, Evaluate, Score
from finetune.scoring import files
from finetune.scoring.compare import by_group, compare
from finetune.scoring.score import means, score
from finetune.tasks import TASKS
from finetune.tasks.base import Metric

ROWS = [
    {"dialogue": f"Ann: hello {n}\nBob: hi\nAnn: bye\nBob: see you", "summary": f"Ann greets {n}."}
    for n in range(6)
]


def stage(folder, *tasks):
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    data = Data(task="samsum", path=str(rows))
    given = tasks or (Score(task="samsum", data=data),)
    return Evaluate(name="evaluate", tasks=given, models=(Candidate(name="base"),))


def evaluated(folder, answers, *tasks):
    """The folder of an evaluation in which each model wrote these answers."""
    out = folder / "run" / "evaluate-0"
    out.mkdir(parents=True)
    files.write_settings(out, stage(folder, *tasks), seed=3)
    task = TASKS["samsum"]
    lines = (
        {
            "prompt": task.prompt(row),
            "references": task.references(row),
            "predictions": {model: texts[n] for model, texts in answers.items()},
            "tokens": dict.fromkeys(answers, 3),
            "stopped": dict.fromkeys(answers, n != 0),
        }
        for n, row in enumerate(ROWS)
    )
    files.write_lines(out / "predictions-samsum.jsonl", lines)
    return out


RIGHT = [row["summary"] for row in ROWS]
WRONG = ["no idea"] * 6


def test_scores_of_every_row_and_their_means_stand_on_disk(tmp_path):
    out = evaluated(tmp_path, {"base": WRONG, "sft": [*RIGHT[:3], *WRONG[3:]]})
    found = score(out)["samsum"]
    assert found == files.comparison(out)["samsum"]
    rows = jsonl(out / "scores-samsum.jsonl")
    assert [row["scores"]["sft"]["rouge1"] for row in rows] == pytest.approx([100] * 3 + [0] * 3)
    assert found["models"]["sft"]["rouge1"]["mean"] == pytest.approx(50)
    pair = found["pairs"]["sft"]["rouge1"]
    assert (pair["wins"], pair["ties"], pair["losses"]) == (3, 3, 0)
    assert (found["against"], found["rows"]) == ("base", 6)
    assert means({"samsum": found})["sft"]["samsum rouge1"] == pytest.approx(50)


def test_the_share_of_answers_that_ended_is_a_metric(tmp_path):
    found = score(evaluated(tmp_path, {"base": WRONG}))["samsum"]
    assert found["models"]["base"]["stopped"]["mean"] == pytest.approx(100 * 5 / 6)


def test_scoring_twice_gives_the_same_files(tmp_path):
    out = evaluated(tmp_path, {"base": WRONG, "sft": RIGHT})
    score(out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    score(out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_answers_to_other_rows_are_not_scored(tmp_path):
    out = evaluated(tmp_path, {"base": WRONG})
    changed = [{**ROWS[0], "dialogue": "Ann: no"}, *ROWS[1:]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    with pytest.raises(FinetuneError, match="others than those that were answered"):
        score(out)


def record(out):
    empty = {"facts": {}, "scores": {}, "warnings": [], "made": {}, "ingredients": {}}
    shape = {"key": "0" * 64, "kind": "evaluate", "name": "evaluate", "model": None}
    return Record(**shape, **empty, files=records.list_files(out), folder=out)


def test_scoring_anew_keeps_the_record_true(tmp_path):
    out = evaluated(tmp_path, {"base": WRONG})
    score(out)
    record(out).write(out)
    lines = jsonl(out / "predictions-samsum.jsonl")
    better = ({**line, "predictions": {"base": RIGHT[line["row"]]}} for line in lines)
    files.write_lines(out / "predictions-samsum.jsonl", better)
    rescore(replace(records.read(out)))
    after = records.read(out)
    assert not after.fault()
    assert after.scores["base"]["samsum rouge1"] == pytest.approx(100)


def test_the_command_scores_a_run_folder_without_torch_or_a_recipe(tmp_path):
    out = evaluated(tmp_path, {"base": WRONG, "sft": RIGHT})
    record(out).write(out)
    code = (
        "import sys; from finetune import cli; cli.main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    command = [sys.executable, "-c", code, "score", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "rouge1 against base" in done.stdout
    assert files.comparison(out)


def test_rows_weigh_by_their_tokens():
    rows = [{"loss": 2.0, "tokens": 1.0}, {"loss": 1.0, "tokens": 3.0}]
    metric = Metric("loss", "lower", "nats", weight="tokens")
    found = compare({"base": rows, "sft": rows}, [metric], seed=1)
    assert found["models"]["base"]["loss"]["mean"] == pytest.approx(1.25)
    assert found["pairs"]["sft"]["loss"]["p"] == 1


def test_fewer_is_a_win_where_lower_is_better():
    metric = Metric("loss", "lower", "nats")
    scores = {"base": [{"loss": 2.0}, {"loss": 1.0}], "sft": [{"loss": 1.0}, {"loss": 1.0}]}
    pair = compare(scores, [metric], seed=1)["pairs"]["sft"]["loss"]
    assert (pair["wins"], pair["ties"], pair["losses"]) == (1, 1, 0)
    assert pair["difference"] == pytest.approx(-0.5)


def test_a_baseline_is_no_partner_and_a_metric_that_a_model_lacks_is_left_out():
    scores = {
        "lead-3": [{"a": 1.0}],
        "base": [{"a": 2.0, "stopped": 100.0}],
        "sft": [{"a": 3.0, "stopped": 0.0}],
    }
    found = compare(scores, [Metric("a"), Metric("stopped")], seed=1, baselines=["lead-3"])
    assert found["against"] == "base"
    assert list(found["pairs"]["lead-3"]) == ["a"]
    assert list(found["models"]["lead-3"]) == ["a"]


def test_a_yes_or_no_of_every_row_gets_an_interval_of_some_width():
    rows = {"base": [{"right": 0.0, "rouge": 0.0}] * 30, "sft": [{"right": 0.0, "rouge": 5.0}] * 30}
    found = compare(rows, [Metric("right"), Metric("rouge")], seed=1)["models"]["base"]
    assert found["right"]["high"] == pytest.approx(100 * 1.96**2 / (30 + 1.96**2), rel=1e-3)
    assert found["rouge"]["high"] == 0


def test_means_by_label_are_over_the_rows_with_that_label():
    rows = {"one": [{"right": 100.0}, {"right": 0.0}, {"right": 50.0}]}
    labels = ["easy", "hard", "easy"]
    assert by_group(rows, [Metric("right", better="higher")], {"hardness": labels}) == {
        "hardness": {
            "easy": {"rows": 2, "models": {"one": {"right": 75.0}}},
            "hard": {"rows": 1, "models": {"one": {"right": 0.0}}},
        }
    }
