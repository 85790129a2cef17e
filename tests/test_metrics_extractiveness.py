"""Coverage, density and novel n-grams: how much of a summary is copied."""

from __future__ import annotations

import pytest

from finetune.metrics.extractiveness.fragments import fragment_lengths, score_rows, words

NOVEL = ("novel_unigrams", "novel_bigrams", "novel_trigrams")


def one(summary, document):
    return score_rows([summary], [document])[0]


def test_a_verbatim_copy_has_coverage_one_its_own_length_as_density_and_nothing_novel():
    scores = one("Bob ate a red apple.", "Today BOB ate a red apple, then slept.")
    assert scores["coverage"] == 1
    assert scores["density"] == scores["words"] == 5
    assert [scores[name] for name in NOVEL] == [0, 0, 0]


def test_disjoint_words_have_no_coverage_no_density_and_everything_novel():
    scores = one("one two three", "four five six")
    assert (scores["coverage"], scores["density"]) == (0, 0)
    assert [scores[name] for name in NOVEL] == [100, 100, 100]


def test_two_fragments_count_by_length_and_by_squared_length():
    # "a b" and "e" of "a b x e": coverage 3/4, density (4 + 1) / 4, 3 of 3 bigrams but "a b" new.
    scores = one("a b x e", "a b c d e")
    assert scores["coverage"] == 3 / 4
    assert scores["density"] == 5 / 4
    assert scores["novel_unigrams"] == 25
    assert scores["novel_bigrams"] == pytest.approx(200 / 3)


def test_the_longest_fragment_is_found_even_where_it_overlaps_a_shorter_one():
    assert fragment_lengths(["a", "a", "b"], ["a", "a", "a", "b"]) == [3]


def test_a_word_order_of_its_own_is_novel_though_every_word_is_copied():
    scores = one("c b a", "a b c")
    assert (scores["coverage"], scores["density"]) == (1, 1)
    assert scores["novel_bigrams"] == 100


def test_an_empty_summary_scores_zero_everywhere():
    assert set(one("", "a b c").values()) == {0}
    assert one("a", "a b c")["novel_bigrams"] == 0


def test_apostrophes_and_times_stay_one_word_and_punctuation_is_none():
    assert words("Don't be late, it's 5:30!") == ["don't", "be", "late", "it's", "5:30"]
