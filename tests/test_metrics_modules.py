"""The metrics as `evaluate` modules: loaded from the package, alone and together, off line."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing

import pytest

from finetune.metrics import MODULES, module_path

pytestmark = pytest.mark.heavy


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise OSError("a test asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def load(tmp_path):
    import evaluate

    return lambda name: evaluate.load(module_path(name), cache_dir=str(tmp_path))


def test_rouge_takes_one_reference_or_several(load):
    rouge = load("rouge")
    one = rouge.compute(predictions=["a cat", ""], references=["a cat", "a dog"])
    assert one["rouge1"] == 50
    several = rouge.compute(predictions=["a cat"], references=[["a dog", "a cat"]])
    assert several["rougeLsum"] == 100


def test_sql_execution_takes_paths_of_databases(load, tmp_path):
    path = tmp_path / "one.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")
    scores = load("sql_execution").compute(
        predictions=["SELECT count(*) FROM t", "DROP TABLE t"],
        references=["SELECT 0", "SELECT 0"],
        databases=[str(path)] * 2,
    )
    assert (scores["execution_accuracy"], scores["valid_sql"]) == (50, 50)


def test_the_metrics_of_sql_combine(load, tmp_path):
    import evaluate

    path = tmp_path / "one.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 1), (2, 2)")
    names = ("sql_execution", "sql_exact_set_match", "sql_test_suite")
    scores = evaluate.combine([load(name) for name in names]).compute(
        predictions=["SELECT a FROM t", "SELECT b FROM t"],
        references=["SELECT a FROM t", "SELECT a FROM t"],
        databases=[str(path)] * 2,
    )
    assert (scores["execution_accuracy"], scores["test_suite_accuracy"]) == (100, 50)
    assert (scores["exact_set_match"], scores["exact_set_match_easy"]) == (50, 50)
    assert scores["rows_easy"] == 2


def test_rouge_and_extractiveness_combine(load):
    import evaluate

    both = evaluate.combine([load("rouge"), load("extractiveness")])
    scores = both.compute(predictions=["a cat"], references=["a cat"], documents=["a cat sat"])
    assert (scores["rouge1"], scores["coverage"], scores["novel_bigrams"]) == (100, 1, 0)


def test_all_that_tells_of_a_text_combines_without_one_number_hiding_another(load):
    import evaluate

    names = ("rouge", "exact_match", "extractiveness", "lengths")
    together = evaluate.combine([load(name) for name in names])
    scores = together.compute(
        predictions=["a cat", "a dog"],
        references=[["a cat"], ["a cow", "the dog"]],
        documents=["a cat sat", "here is a dog"],
        stopped=[True, False],
    )
    assert (scores["exact_match"], scores["stopped"], scores["empty"]) == (50, 50, 0)
    assert (scores["length"], scores["words"], scores["novel_4grams"]) == (2, 2, 0)
    assert 50 < scores["rouge1"] < 100


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_takes_and_returns(load, name):
    module = load(name)
    assert module.description and module.citation
    assert "Returns:" in module.inputs_description


def test_an_unknown_metric_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no metric 'bleu'; there are rouge"):
        module_path("bleu")
