"""Any prompt with its right answers, judged by metrics of one's own choice."""

import json

import pytest

from finetune.errors import DataError, FinetuneError
from finetune.metrics.exact_match import matching
from finetune.metrics.lengths import counting
from finetune.recipe.types import Data, Score
from finetune.tasks import chosen_metrics, scored

DATA = Data(path="rows.jsonl")
MODULE = '''
import datasets
import evaluate


class Shared(evaluate.Metric):
    """Share of letters of the reference that the prediction has."""

    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="d", citation="c", inputs_description="i",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, predictions, references):
        shares = [len(set(p) & set(r)) / len(set(r)) for p, r in zip(predictions, references)]
        return {"shared": sum(shares) / len(shares), "of": len(shares)}
'''


def rows_of(score):
    return scored.rows(score, scored.examples(score))


def task(*metrics):
    return scored.written(Score(task="generic", data=DATA, metrics=metrics))


@pytest.mark.parametrize(
    ("row", "references"),
    [
        ({"prompt": "p", "completion": "a"}, ["a"]),
        ({"prompt": "p", "references": ["a", "b"]}, ["a", "b"]),
        ({"prompt": "p", "references": "a"}, ["a"]),
        ({"prompt": "p", "completion": [{"role": "assistant", "content": "a"}]}, ["a"]),
        (
            {"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]},
            ["a"],
        ),
        ({"question": "p", "answer": "a", "topic": "x"}, ["a"]),
        ({"instruction": "p", "input": "", "output": "a"}, ["a"]),
        (
            {"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "a"}]},
            ["a"],
        ),
    ],
)
def test_rows_are_those_of_training_with_one_answer_or_several(row, references):
    (ready,) = task().prepare([row], DATA)
    assert task().references(ready) == references
    prompt = task().prompt(ready)
    assert prompt in ("p", [{"role": "user", "content": "p"}])


def test_a_conversation_without_an_answer_is_refused_by_its_row():
    rows = [{"messages": [{"role": "user", "content": "p"}]}]
    with pytest.raises(DataError, match="no message of the assistant"):
        task().prepare(rows, DATA)


def test_an_answer_that_a_question_follows_is_none_to_compare_with():
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    with pytest.raises(DataError, match="does not end with an answer"):
        task().prepare([{"messages": turns}], DATA)


def test_rows_without_references_are_refused(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "p", "other": "x"}\n')
    with pytest.raises(DataError, match="'references' is missing or empty; here are: prompt, oth"):
        rows_of(Score(task="generic", data=Data(path=str(file))))


def test_metrics_of_the_package_are_taken_by_name():
    chosen = task("exact_match", "rouge", "extractiveness")
    (row,) = chosen.prepare([{"prompt": "red lamp", "completion": "red lamp"}], DATA)
    (scores,) = chosen.score_rows(["red  lamp\n"], [row])
    assert list(scores) == [metric.name for metric in chosen.metrics]
    assert (scores["exact_match"], scores["coverage"], scores["novel_4grams"]) == (100, 1, 0)


def test_an_unknown_metric_is_refused_with_those_there_are():
    with pytest.raises(FinetuneError, match="no metric 'bleurt'") as error:
        chosen_metrics.check("bleurt")
    assert "exact_match, rouge, extractiveness" in str(error.value)


def test_exact_match_looks_past_white_space_alone():
    found = matching.score_rows([" a  b\n", "A b", ""], [["a b"], ["a b", "c"], ["x"]])
    assert [row["exact_match"] for row in found] == [100, 0, 0]


def test_lengths_know_words_silence_and_whether_an_answer_ended():
    found = counting.score_rows(["two words", ""], [True, False])
    assert found[0] == {"length": 2.0, "empty": 0.0, "stopped": 100.0}
    assert found[1] == {"length": 0.0, "empty": 100.0, "stopped": 0.0}
    assert "stopped" not in counting.score_rows(["a"])[0]
    with pytest.raises(ValueError, match="1 in stopped"):
        counting.score_rows(["a", "b"], [True])


@pytest.mark.heavy
def test_an_evaluate_module_is_taken_by_its_folder(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "shared.py").write_text(MODULE)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "p", "references": ["ab", "zz"]}) + "\n")
    score = Score(task="generic", data=Data(path=str(rows)), metrics=("rouge", str(folder)))
    ready = rows_of(score)
    (found,) = scored.written(score).score_rows(["a"], ready)
    assert (found["shared"], found["of"], found["rouge1"]) == (0.5, 1.0, 0.0)
    assert scored.code(score) == [folder / "shared.py"]


@pytest.mark.heavy
def test_a_module_that_cannot_be_loaded_says_so_before_a_model_answers(tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "broken.py").write_text("import no_such_library\n")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "p", "completion": "a"}) + "\n")
    score = Score(task="generic", data=Data(path=str(rows)), metrics=(str(folder),))
    with pytest.raises(FinetuneError, match="cannot be loaded"):
        rows_of(score)
