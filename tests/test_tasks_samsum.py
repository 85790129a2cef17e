"""Dialogue summaries: prompt, answer, references and scores."""

from __future__ import annotations

import pytest
from jsonl import jsonl

from finetune.metrics import mean
from finetune.recipe.types import Data
from finetune.tasks import TASKS

SAMSUM = TASKS["samsum"]
DATA = Data(task="samsum")


def test_the_prompt_holds_the_dialogue_once_and_the_summary_never():
    row = {"dialogue": "Ann: hi\r\nBob: hello\r\n", "summary": "They greet."}
    prompt = SAMSUM.prompt(row)
    assert prompt.endswith("Ann: hi\nBob: hello")
    assert "They greet." not in prompt
    assert SAMSUM.answer(row) == "They greet."


def test_several_references_give_a_summary_to_learn_and_all_to_score_by():
    row = {"dialogue": "A: x", "summary2": "two", "summary10": "ten", "summary1": "one"}
    (ready,) = SAMSUM.prepare([row], DATA)
    assert SAMSUM.answer(ready) == "one"
    assert SAMSUM.references(ready) == ["one", "two", "ten"]
    assert "summary" not in row


def test_a_summary_of_its_own_stays_and_absent_references_do_not_count():
    (ready,) = SAMSUM.prepare([{"dialogue": "A", "summary": "s", "summary1": None}], DATA)
    assert SAMSUM.references(ready) == ["s"]
    (ready,) = SAMSUM.prepare([{"dialogue": "A", "summary1": None, "summary2": "two"}], DATA)
    assert SAMSUM.answer(ready) == "two"


def test_a_preference_row_without_a_summary_can_be_asked():
    (ready,) = SAMSUM.prepare([{"dialogue": "A: x", "chosen": "a", "rejected": "b"}], DATA)
    assert all(column in ready for column in SAMSUM.prompt_needs)
    assert SAMSUM.prompt(ready)


def test_scores_tell_the_right_answer_a_copy_and_silence_apart():
    row = {"dialogue": "Ann: I bought a red car.", "summary": "Ann has a new car."}
    right, copy, silent = SAMSUM.score_rows(
        ["Ann has a new car.", "I bought a red car.", " \n"], [row] * 3
    )
    assert right["rouge1"] == 100 and right["novel_bigrams"] == 100
    assert copy["novel_bigrams"] == 0 and copy["length"] == 5
    assert silent["empty"] == 100 and silent["rouge1"] == 0 and right["empty"] == 0


@pytest.mark.parametrize("name", TASKS)
def test_scores_are_the_metrics_that_the_task_announces(name):
    row = {"dialogue": "A: b", "summary": "c", "query": "SELECT 1", "context": "CREATE TABLE t (a)"}
    task = TASKS[name]
    rows = [row, row]
    each = task.score_rows(["c", "SELECT 1"], rows)
    assert list(each[0]) == [metric.name for metric in task.metrics]
    assert task.score(["c", "SELECT 1"], rows) == mean(each)


def test_real_dialogues_score_100_by_any_of_their_references(realdata):
    rows = SAMSUM.prepare(jsonl(realdata / "dialogsum" / "test.jsonl")[:30], DATA)
    third = [row["summary3"] for row in rows]
    assert SAMSUM.score(third, rows)["rougeL"] == pytest.approx(100)
