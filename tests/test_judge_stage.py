"""An evaluation with a judge, from the recipe's types to the comparison, on tiny models."""

import json
import re
from dataclasses import replace

import pytest
import small_stages
from judges import endpoint, fenced

pytestmark = pytest.mark.heavy

ROWS = 5


@pytest.fixture
def data(tmp_path):
    from finetune.recipe.types import Data

    lines = [json.dumps({"prompt": f"Once there was a dog, number {n}."}) for n in range(ROWS)]
    (tmp_path / "beginnings.jsonl").write_text("\n".join(lines))
    return Data(path=str(tmp_path / "beginnings.jsonl"))


def evaluated(random_mistral, folder, data, judge, rubric, **more):
    """(result, comparison of the score) of one model under two names, the second one longer."""
    from finetune.job import ModelRef
    from finetune.recipe.judging import Judge, Rubric
    from finetune.recipe.types import Base, Evaluate, Score

    own = Score(task="judge", data=data, rubric=Rubric(**rubric), judge=Judge(**judge), **more)
    settings = {"max_new_tokens": 12}
    stage = Evaluate(name="evaluate", tasks=(own,), generation=settings, batch_size=4)
    ref = ModelRef(base=Base(model=str(random_mistral), dtype="float32"))
    models = {"base": ref, "other": replace(ref, base=replace(ref.base, dtype="bfloat16"))}
    result = small_stages.run(stage, ref, folder, models=models)
    return result, json.loads((folder / "comparison.json").read_text())["judge"]


def question(body):
    return body["messages"][0]["content"]


def longer(number, body):
    _, first, second = fenced(question(body))
    if len(first) == len(second):
        return "better: neither"
    return f"better: {'first' if len(first) > len(second) else 'second'}"


def test_a_judge_who_says_first_gives_ties_alone_and_all_verdicts_flip(
    random_mistral, tmp_path, data
):
    with endpoint(lambda number, body: "I think so.\nbetter: first") as (address, seen):
        judge = {"model": "m", "endpoint": address}
        _, found = evaluated(
            random_mistral, tmp_path / "run", data, judge, {"name": "pairwise"}, against="base"
        )
    pair = found["pairs"]["other"]["preferred"]
    assert (pair["wins"], pair["ties"], pair["losses"]) == (0, ROWS, 0)
    assert found["models"]["other"]["order_flips"]["mean"] == 100
    assert found["models"]["other"]["preferred"]["mean"] == 50
    assert len(seen) <= 2 * ROWS


def test_a_judge_who_likes_length_prefers_as_many_answers_as_are_longer(
    random_mistral, tmp_path, data, monkeypatch
):
    from finetune.models.generate import Answer
    from finetune.scoring.score import score
    from finetune.stages import measuring

    written = {"base": ["ab"] * ROWS, "other": ["", "a", "abc", "abcdef", "ab"]}
    monkeypatch.setattr(
        measuring,
        "generate",
        lambda *_, title, **__: [Answer(text) for text in written[title.split(", ")[1]]],
    )
    folder, rubric = tmp_path / "run", {"name": "pairwise"}
    with endpoint(longer) as (address, seen):
        judge = {"model": "m", "endpoint": address}
        _, found = evaluated(random_mistral, folder, data, judge, rubric, against="base")
        pair = found["pairs"]["other"]["preferred"]
        assert (pair["wins"], pair["ties"], pair["losses"]) == (2, 1, 2)
        assert found["models"]["other"]["order_flips"]["mean"] == 0
        assert len(seen) == 2 * ROWS - 1  # two equal answers make one question of two
        evaluated(random_mistral, folder, data, judge, rubric, against="base")
        assert len(seen) == 2 * ROWS - 1
    assert score(folder)["judge"] == found  # from the files alone: nobody is there to be asked


def test_marks_stand_in_the_table_and_malformed_replies_count_for_no_model(
    random_mistral, tmp_path, data
):
    def reply(number, body):
        if "number 3" in question(body):
            return "I would rather not."
        mark = int(re.search(r"number (\d)", question(body))[1])
        return f"Fine.\ngrammar: {mark + 1}/10, creativity: 5/10, consistency: 5/10, age_group: 4-5"

    with endpoint(reply) as (address, _):
        judge = {"model": "m", "endpoint": address}
        result, found = evaluated(
            random_mistral, tmp_path / "run", data, judge, {"name": "stories"}
        )
    grammar = found["models"]["base"]["grammar"]
    assert grammar["mean"] == (1 + 2 + 3 + 5) / 4 and grammar["low"] <= grammar["mean"]
    assert found["models"]["base"]["malformed"]["mean"] == 100 / ROWS
    assert (found["rows"], found["judged_rows"]) == (ROWS, ROWS - 1)
    assert result.scores["base"]["judge grammar"] == grammar["mean"]
    assert "wrong form twice" in " ".join(result.warnings)
    scores = (tmp_path / "run" / "scores-judge.jsonl").read_text().splitlines()
    assert "grammar" not in json.loads(scores[3])["scores"]["base"]


def test_a_local_judge_without_sense_gives_malformed_replies_and_no_scores(
    random_mistral, tmp_path, data
):
    judge = {"model": str(random_mistral), "max_tokens": 8}
    result, found = evaluated(random_mistral, tmp_path / "run", data, judge, {"name": "stories"})
    assert found["models"]["other"]["malformed"]["mean"] == 100
    assert "grammar" not in found["models"]["other"]
    assert any("wrong form twice" in note for note in result.warnings)
    kept = (tmp_path / "judge-replies.jsonl").read_text()
    evaluated(random_mistral, tmp_path / "run", data, judge, {"name": "stories"})
    assert (tmp_path / "judge-replies.jsonl").read_text() == kept
