"""Every fault that is planted is found, and clean rows are silent."""

import random

import pytest

from finetune.audit.findings import judged
from finetune.audit.near import near_duplicates
from finetune.audit.overlap import overlap
from finetune.audit.texts import damaged, duplicates, length_bias
from finetune.audit.words import ngrams
from finetune.data.examples import Pair
from finetune.recipe.types import Audit, Threshold

WORDS = [f"w{number}" for number in range(3000)]


def text(seed, size=40):
    return " ".join(random.Random(seed).choices(WORDS, k=size))


def rows(count, start=0):
    return [(text(start + n), text(10_000 + start + n, 12)) for n in range(count)]


def test_ngrams_are_the_runs_of_words_each_once():
    one = {str(value) for value in ngrams("a b c d", 2)}
    assert len(one) == 3
    assert {str(value) for value in ngrams("B, c!", 2)} < one
    assert len(ngrams("a b a b a b", 2)) == 2
    assert len(ngrams("a b", 5)) == len(ngrams("", 5)) + 1 == 1


def test_copies_are_counted_after_the_first_and_texts_apart_are_not():
    found = duplicates([*rows(50), *rows(3), (text(0), "another answer")], 54)
    assert list(found.rows) == [50, 51, 52]


def test_rows_nearly_the_same_are_found_and_rows_of_one_prompt_are_not():
    clean = rows(300)
    near = [(f"{asked} indeed", answered) for asked, answered in clean[:40]]
    prompts = [(f"{text(7, 400)} {text(500 + n, 5)}", text(900 + n, 9)) for n in range(50)]
    found = near_duplicates([*clean, *prompts, *near], 390)
    assert set(found.rows) <= set(range(350, 390))
    assert len(found.rows) >= 38
    assert near_duplicates(clean, 300).count == 0


def test_an_exact_copy_is_no_near_duplicate():
    assert near_duplicates([*rows(5), *rows(5)], 10).count == 0


def test_overlap_finds_what_training_has_seen_whole_and_in_part():
    evaluation = [text(n) for n in range(30)]
    assert overlap(evaluation, [text(100 + n) for n in range(200)]).count == 0
    halves = " ".join(evaluation[7].split()[:34]) + " " + text(999, 8)
    found = overlap(evaluation, [*(text(100 + n) for n in range(200)), evaluation[3], halves])
    assert list(found.rows) == [3, 7]
    assert found.more.startswith("1 of them")


def test_wording_that_all_prompts_share_is_no_overlap():
    schema = text(1, 300)
    evaluation = [f"{schema} {text(2000 + n, 14)}" for n in range(20)]
    training = [f"{schema} {text(4000 + n, 14)}" for n in range(100)]
    assert overlap(evaluation, training).count == 0
    assert list(overlap(evaluation, [*training, evaluation[5]]).rows) == [5]


@pytest.mark.parametrize(
    "broken",
    ["it\u00e2\u20ac\u2122s", "caf\u00c3\u00a9", "a \ufffd b", "nul \x00", "\x1b[2J", "bell\x07"],
)
def test_text_of_a_wrong_encoding_is_found(broken):
    assert list(damaged([("fine", "fine"), ("ask", broken)], 2).rows) == [1]


@pytest.mark.parametrize(
    "whole",
    [
        "it\u2019s",
        "caf\u00e9 S\u00c3O",
        "\u00c2ge d\u2019or",
        "tab\tand\r\nline",
        "\U0001f600 \u0645\u0631\u062d\u0628\u0627",
    ],
)
def test_text_of_any_language_is_whole(whole):
    assert damaged([(whole, whole)], 1).count == 0


def pairs(longer, shorter):
    def message(content):
        return [{"role": "assistant", "content": content}]

    return [
        Pair([], message("long answer"), message("short"))
        if n < longer
        else Pair([], message("short"), message("long answer"))
        for n in range(longer + shorter)
    ]


@pytest.mark.parametrize(("longer", "shorter", "share"), [(9, 1, 0.9), (1, 9, 0.9), (5, 5, 0.5)])
def test_length_bias_is_the_share_of_the_more_frequent_side(longer, shorter, share):
    found = length_bias(pairs(longer, shorter))
    assert (found.count, found.of, found.value) == (longer, longer + shorter, share)


def test_a_threshold_of_the_recipe_decides_and_what_it_leaves_out_stays():
    found = duplicates([*rows(9), *rows(1)], 10)

    def verdict(**limits):
        audit = Audit(duplicates=Threshold(**limits))
        return judged([found], audit, str)[0].verdict

    assert judged([found], Audit(), str)[0].verdict == "warn"
    assert verdict(warn=0.1) == "ok"
    assert verdict(refuse=0.05) == "refuse"
    assert verdict(refuse=0.5) == "warn"
