"""ROUGE: F1 in percent, stemmed, the best of several references."""

from __future__ import annotations

import pytest
from jsonl import jsonl

from finetune.metrics import mean
from finetune.metrics.rouge.scoring import ROUGES, score_rows


def one(prediction, *references):
    return score_rows([prediction], [list(references)])[0]


def test_scores_equal_the_closed_form_of_a_small_case():
    # 3 of 3 words and 3 of 6: F1 = 2/3. Bigrams 2 of 2 and 2 of 5: F1 = 4/7.
    scores = one("the cat sat", "the cat sat on the mat")
    assert scores["rouge1"] == pytest.approx(200 / 3)
    assert scores["rouge2"] == pytest.approx(400 / 7)


def test_words_are_stemmed_with_nothing_downloaded():
    assert one("jumping horses", "jumped horse")["rouge2"] == 100.0


@pytest.mark.parametrize("empty", ["", " \n", "..."])
def test_an_empty_prediction_scores_zero(empty):
    assert one(empty, "a cat") == dict.fromkeys(ROUGES, 0.0)


def test_each_score_takes_its_own_best_reference():
    several = one("a b c d", "d c b a", "a b x y")
    assert several["rouge1"] == one("a b c d", "d c b a")["rouge1"] == 100.0
    assert several["rouge2"] == one("a b c d", "a b x y")["rouge2"] > 0


def test_rouge_lsum_reads_line_by_line_and_rouge_l_does_not():
    scores = one("second line\nfirst part", "first part\nsecond line")
    assert scores["rougeLsum"] == 100.0
    assert scores["rougeL"] == 50.0


def test_a_row_without_references_or_of_unequal_number_is_refused():
    with pytest.raises(ValueError, match="without a reference"):
        score_rows(["a"], [[]])
    with pytest.raises(ValueError, match="2 predictions"):
        score_rows(["a", "b"], [["a"]])


def test_equals_rouge_score_on_500_real_summaries_with_three_references_each(realdata):
    from rouge_score import rouge_scorer

    rows = [
        row
        for row in jsonl(realdata / "dialogsum" / "test.jsonl")
        if all(row.get(f"summary{n}") for n in (1, 2, 3))
    ]
    references = 2 * [[row[f"summary{n}"] for n in (1, 2, 3)] for row in rows]
    said = [row["dialogue"].split("\n") for row in rows]
    predictions = ["\n".join(lines[:3]) for lines in said] + [lines[-1] for lines in said]
    assert len(predictions) == 500
    scorer = rouge_scorer.RougeScorer(list(ROUGES), use_stemmer=True)
    ours = score_rows(predictions, references)
    means = dict.fromkeys(ROUGES, 0.0)
    for prediction, texts, row in zip(predictions, references, ours, strict=True):
        each = [scorer.score(text, prediction) for text in texts]
        best = {name: 100 * max(one[name].fmeasure for one in each) for name in ROUGES}
        assert row == pytest.approx(best, abs=1e-9)
        means = {name: means[name] + best[name] / len(predictions) for name in ROUGES}
    assert mean(ours) == pytest.approx(means, abs=1e-9)
