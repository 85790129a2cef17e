"""The journal of a run folder: what was planned, why, and how it ended."""

import json

import chain_fakes
import pytest
from chain_fakes import recipe

from finetune.chain import journal
from finetune.chain.run import run
from finetune.errors import FinetuneError
from finetune.job import ModelRef
from finetune.recipe.types import Base, Tokenizer


@pytest.fixture(autouse=True)
def _fakes(monkeypatch):
    chain_fakes.use(monkeypatch)


def told(folder):
    found = journal.read(folder / "run")
    return found.ending, {step.name: step.status for step in found.steps}


def test_a_run_says_what_it_ran_and_that_it_is_done(tmp_path):
    run(recipe(tmp_path))
    assert told(tmp_path) == ("done", dict.fromkeys(("sft", "dpo", "evaluate", "merge"), "run"))


def test_a_run_with_nothing_to_do_leaves_the_journal_of_the_one_that_did_it(tmp_path):
    run(recipe(tmp_path))
    before = journal.read(tmp_path / "run")
    run(recipe(tmp_path))
    assert journal.read(tmp_path / "run") == before


def test_a_changed_key_is_the_reason_of_what_ran_again_and_going_back_keeps_all(tmp_path):
    run(recipe(tmp_path))
    run(recipe(tmp_path, dpo={"beta": 0.2}))
    found = journal.read(tmp_path / "run")
    assert [step.status for step in found.steps] == ["keep", "run", "run", "run"]
    assert "beta" in found.steps[1].reason
    run(recipe(tmp_path))
    assert told(tmp_path)[1] == dict.fromkeys(("sft", "dpo", "evaluate", "merge"), "keep")


def test_a_failure_stands_in_it_with_its_message(tmp_path):
    with pytest.raises(FinetuneError):
        run(recipe(tmp_path, dpo={"act": "data"}))
    found = journal.read(tmp_path / "run")
    assert found.ending == "failed"
    assert "pairs.jsonl line 3: 'chosen' is empty" in found.error


def test_a_recipe_that_cannot_start_leaves_the_journal_as_it_is(tmp_path):
    run(recipe(tmp_path))
    with pytest.raises(FinetuneError, match="beta is too large"):
        run(recipe(tmp_path, dpo={"check": "beta is too large"}))
    assert told(tmp_path)[0] == "done"


def test_a_damaged_journal_is_none(tmp_path):
    (tmp_path / journal.NAME).write_text('{"name": "x"}')
    assert journal.read(tmp_path) is None


@pytest.mark.parametrize(
    "fields", [{}, {"model": None, "tokenizer": Tokenizer()}, {"add_tokens": ("<a>", "<b>")}]
)
def test_a_model_in_a_record_is_equal_to_the_one_that_was_written(fields, tmp_path):
    """Models on equal bases share a copy in memory."""
    base = Base(
        **{"model": str(tmp_path / "base"), "quantization": {"load_in_4bit": True}, **fields}
    )
    ref = ModelRef(base=base, adapters=(tmp_path / "adapter",))
    written = json.loads(json.dumps(ref.to_json(tmp_path)))
    assert ModelRef.from_json(written, tmp_path) == ref
