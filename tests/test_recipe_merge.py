"""What a recipe may ask of a merge: adapters of one base, combined by fields that are read."""

import pytest
from recipe_text import said

from finetune.chain.fingerprint import Fingerprints
from finetune.chain.keys import keys
from finetune.recipe import load

A = "sft: {name: a, data: %s, lora: {}}"
B = "sft: {name: b, data: %s, lora: {r: 16}, from: base}"


def recipe(folder, *rows, write=False):
    data = folder / "rows.jsonl"
    data.write_text('{"prompt": "x", "completion": "y"}\n')
    listed = "".join(f"  - {row.replace('%s', str(data))}\n" for row in rows)
    text = f"name: tiny\nbase: {{model: tiny-mistral}}\nstages:\n{listed}"
    if not write:
        return text
    path = folder / "tiny.yaml"
    path.write_text(text)
    return load(path)


def combine(text):
    return f"merge: {{combine: {{{text}}}}}"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([A, B, combine("adapters: [a]")], "name two adapters or more"),
        ([A, B, combine("weights: [1, 1]")], "`adapters` is missing"),
        ([A, B, combine("adapters: [a, c]")], "no stage 'c'"),
        ([A, B, combine("adapters: [a, b], weights: [1]")], "one weight for each of 2"),
        ([A, B, combine("adapters: [a, b], combination_type: ties")], "needs it: the share"),
        ([A, B, combine("adapters: [a, b], density: 0.5")], "`combination_type: cat` does not"),
        ([A, B, combine("adapters: [a, b], svd_rank: 4")], "only by the svd types"),
        (
            [A, B, combine("adapters: [a, b], majority_sign_method: frequency")],
            "only by the ties types",
        ),
        ([A, B, combine("adapters: [a, b], combination_type: tie")], "did you mean"),
        ([A, B, combine("adapters: [a, b], combination_type: ties, density: 2")], "1 or less"),
        (
            [
                A,
                "merge: {name: m}",
                "sft: {name: b, data: %s, lora: {}}",
                combine("adapters: [a, b]"),
            ],
            "'b' stands on the weights of 'm', 'a' on those of 'base': give both the same `from`",
        ),
        ([A, "merge: {name: m}", combine("adapters: [a, m]")], "'m' leaves no adapter"),
        (
            [A, B, "merge: {from: a, combine: {adapters: [a, b]}}"],
            "`combine.adapters` says what is merged",
        ),
    ],
)
def test_a_combination_that_makes_no_sense_is_refused(tmp_path, rows, message):
    assert message in said(tmp_path, recipe(tmp_path, *rows))


def keyed(folder, *rows):
    return keys(recipe(folder, *rows, write=True), Fingerprints(folder / "none"))


def test_the_key_of_a_combination_knows_each_adapter_and_its_place(tmp_path):
    first = keyed(tmp_path, A, B, combine("adapters: [a, b]"))
    other = keyed(tmp_path, A, B, combine("adapters: [b, a]"))
    changed = keyed(tmp_path, A, B.replace("r: 16", "r: 4"), combine("adapters: [a, b]"))
    assert len({each["merge"].key for each in (first, other, changed)}) == 3


def test_the_key_of_a_combination_does_not_know_names(tmp_path):
    first = keyed(tmp_path, A, B, combine("adapters: [a, b]"))
    renamed = keyed(tmp_path, A, B.replace("name: b", "name: c"), combine("adapters: [a, c]"))
    assert first["merge"].key == renamed["merge"].key


def tasks(text):
    return f"merge: {{tasks: [{{{text}}}]}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: loss", "the task 'loss' needs `data`"),
        ("task: samsun", "did you mean 'samsum'?"),
        ("task: samsum, rows: 0", "must be 1 or more, got 0"),
        ("task: preference, data: %s, reference: a", "'a' is not a model that this stage has"),
    ],
)
def test_tasks_of_a_merge_are_read_as_those_of_an_evaluation(tmp_path, text, message):
    assert message in said(tmp_path, recipe(tmp_path, A, tasks(text)))


def test_a_merge_knows_the_adapter_and_the_ways_to_merge_it_by_name(tmp_path):
    compared = "task: preference, data: %s, reference: adapter"
    assert recipe(tmp_path, A, tasks(compared), write=True).stages[1].tasks[0].reference


def test_the_key_of_a_merge_knows_its_tasks_and_their_rows(tmp_path):
    without = keyed(tmp_path, A, "merge: {}")["merge"].key
    assert without == keyed(tmp_path, A, "merge: {tasks: []}")["merge"].key
    scored = keyed(tmp_path, A, tasks("task: loss, data: %s"))["merge"]
    fewer = keyed(tmp_path, A, tasks("task: loss, data: %s, rows: 1"))["merge"]
    assert len({without, scored.key, fewer.key}) == 3
    assert "rows.jsonl" in str(scored.ingredients["data"])
