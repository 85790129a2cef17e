"""Exemplars and options, as FLAN mixtures have them."""

import json
import random
from collections import Counter

import pytest

from finetune.data.shots import exemplars
from finetune.recipe.types import Data, Part
from finetune.tasks.examples import conversations

OPTIONS = ["yes", "no", "maybe"]


@pytest.fixture
def file(tmp_path):
    rows = [
        {"prompt": f"Question {n % 90}?", "completion": OPTIONS[n % 3], "options": OPTIONS}
        for n in range(100)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def listed(talk):
    asked = [turn for turn in talk.messages if turn["role"] == "user"][-1]["content"]
    return asked.partition("\n\nOptions:\n- ")[2].split("\n- ")


def few(file, **more):
    return conversations(Data(path=file, seed=3, **more))


def test_the_share_with_exemplars_is_exact_and_between_the_bounds(file):
    counts = Counter(len(talk.messages) // 2 - 1 for talk in few(file, few_shot=0.4))
    assert counts[0] == 60
    assert set(counts) == {0, 2, 3, 4, 5}


def test_only_the_own_answer_of_a_row_is_learnt(file):
    for talk in few(file, few_shot=1.0, exemplars=(1, 2)):
        learnt = [turn.get("train", True) for turn in talk.messages if turn["role"] == "assistant"]
        assert learnt == [False] * (len(learnt) - 1) + [True]


def test_no_exemplar_asks_what_its_row_asks(file):
    rows = few(file, options=0.0)
    generator = random.Random(0)
    for draw in range(10_000):
        at = draw % len(rows)
        shown = {turn["content"] for turn in exemplars(rows, at, (2, 5), generator)}
        assert rows[at].messages[0]["content"] not in shown


def test_options_stand_in_every_order_equally_often(tmp_path):
    path = tmp_path / "many.jsonl"
    row = {"prompt": "Well?", "completion": "no", "options": OPTIONS}
    path.write_text((json.dumps(row) + "\n") * 6000)
    orders = Counter(tuple(listed(talk)) for talk in few(str(path)))
    assert len(orders) == 6
    chi_square = sum((count - 1000) ** 2 / 1000 for count in orders.values())
    assert chi_square < 20.5  # 0.1% of fair draws lie beyond, with 5 degrees of freedom


def test_the_share_with_options_is_exact_and_the_answer_stays(file):
    rows = few(file, options=0.5)
    assert sum("Options:" in talk.messages[0]["content"] for talk in rows) == 50
    assert [talk.messages[-1]["content"] for talk in rows[:3]] == OPTIONS


def test_the_seed_alone_decides_and_places_stay(file):
    first, again = few(file, few_shot=0.5), few(file, few_shot=0.5)
    assert list(first) == list(again)
    other = conversations(Data(path=file, seed=4, few_shot=0.5))
    assert list(first) != list(other)
    assert [first.origin(n).line for n in range(100)] == list(range(1, 101))


def test_a_mix_dresses_each_of_its_sources_by_itself(file):
    mix = (Part(path=file, cap=30, few_shot=1.0, exemplars=(1, 1)), Part(path=file, cap=60))
    rows = conversations(Data(mix=mix, seed=1))
    assert len(rows) == 90
    assert sum(len(talk.messages) > 2 for talk in rows) == 30


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"path": "x.jsonl", "exemplars": [3, 1], "few_shot": 0.5}, "least, most"),
        ({"path": "x.jsonl", "exemplars": [1, 3]}, "is read only with `few_shot`"),
        ({"path": "x.jsonl", "few_shot": 2}, "must be 0 or more and 1 or less"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, data, message):
    from finetune.errors import RecipeError
    from finetune.recipe import load

    stages = [{"sft": {"data": data, "lora": {}}}]
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps({"base": {"model": "tiny-mistral"}, "stages": stages}))
    with pytest.raises(RecipeError, match=message):
        load(path)
