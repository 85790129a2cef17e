"""Tasks over likelihoods: closed forms of loss, preference and perplexity."""

import json
import math

import pytest

from finetune.recipe.types import Data
from finetune.tasks.likely import Likelihood
from finetune.tasks.scored import LIKELY

LOSS, PERPLEXITY, PREFERENCE = (LIKELY[name] for name in ("loss", "perplexity", "preference"))


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_choices():
    tokens, choices = 12, 50
    text = "ab cd efg"
    found = (Likelihood(-tokens * math.log(choices), tokens),)
    scores = PERPLEXITY.score(found, None, PERPLEXITY.counts((text,)))
    assert scores["perplexity"] == pytest.approx(choices)
    assert scores["word_perplexity"] == pytest.approx(choices ** (tokens / 3))
    assert scores["byte_perplexity"] == pytest.approx(choices ** (tokens / 9))
    assert scores["bits_per_byte"] == pytest.approx(tokens * math.log2(choices) / 9)


def test_bytes_are_those_of_utf_8():
    assert PERPLEXITY.counts(("żółw idzie",)) == {"words": 2.0, "bytes": 13.0}


def test_an_endless_word_does_not_overflow():
    scores = PERPLEXITY.score((Likelihood(-1e6, 9),), None, {"words": 1.0, "bytes": 9.0})
    assert json.loads(json.dumps(scores)) == scores and math.isfinite(scores["word_perplexity"])


def test_loss_is_nats_per_token():
    assert LOSS.score((Likelihood(-6.0, 4),), None, {}) == {"loss": 1.5, "tokens": 4.0}
    assert LOSS.score((Likelihood(0.0, 0),), None, {}) == {"loss": 0.0, "tokens": 0.0}


def test_a_preference_is_per_token_and_a_reward_against_the_reference():
    # Longer and less likely in sum, more likely per token.
    ours = (Likelihood(-6.0, 6), Likelihood(-4.0, 2))
    assert PREFERENCE.score(ours, None, {}) == {"preferred": 100.0}
    reference = (Likelihood(-9.0, 6), Likelihood(-5.0, 2))
    scores = PREFERENCE.score(ours, reference, {})
    assert scores["reward_accuracy"] == 100.0  # gains 3 nats on the chosen, 1 on the rejected
    assert PREFERENCE.score(reference, ours, {})["reward_accuracy"] == 0.0


def test_equal_likelihoods_are_no_preference():
    same = (Likelihood(-4.0, 2), Likelihood(-4.0, 2))
    assert PREFERENCE.score(same, same, {}) == {"preferred": 0.0, "reward_accuracy": 0.0}


def items(task, file, row):
    file.write_text(json.dumps(row) + "\n")
    return [task.item(each) for each in task.examples(Data(path=str(file)))]


def test_items_come_from_the_rows_of_training(tmp_path):
    file = tmp_path / "rows.jsonl"
    assert items(PERPLEXITY, file, {"text": "t u"}) == [("t u",)]
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    ((chosen, rejected),) = items(PREFERENCE, file, pair)
    assert (chosen.messages[-1]["content"], rejected.messages[-1]["content"]) == ("a", "b")
    ((talk,),) = items(LOSS, file, {"prompt": "p", "completion": "c"})
    assert talk.messages[-1] == {"role": "assistant", "content": "c"}
