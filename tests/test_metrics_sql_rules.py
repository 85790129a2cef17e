"""Forty pairs of a right and a predicted query, each with the rule that decides about it.

The rules are those of the reference evaluation (taoyds/test-suite-sql-eval); where ours differ on
purpose, a pair at the end says so.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from finetune.metrics.sql_execution.scoring import score_rows

TABLES = """
CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, country TEXT, age INT, height REAL);
INSERT INTO singer VALUES
    (1, 'Ana', 'France', 30, 1.5), (2, 'Bo', 'Spain', 25, 1.7), (3, 'Cy', 'France', 41, NULL),
    (4, 'Di', 'Italy', 25, 1.6), (5, 'Ana', 'Spain', 52, 1.8);
CREATE TABLE song (id INTEGER PRIMARY KEY, title TEXT, singer_id INT REFERENCES singer (id));
INSERT INTO song VALUES (1, 'One', 1), (2, 'Two', 1), (3, 'Sun', 2), (4, 'Moon', 5);
CREATE TABLE odd (a INT, b INT, c TEXT);
INSERT INTO odd VALUES (1, 2, '1'), (2, 1, '2'), (3, 3, '3');
"""

PAIRS = [
    # (rule, right query, predicted query, whether it counts as right)
    ("the same text", "SELECT name FROM singer", "SELECT name FROM singer", True),
    ("case of names", "SELECT name FROM singer", "select NAME from SINGER", True),
    ("aliases", "SELECT name FROM singer", "SELECT T1.name AS n FROM singer AS T1", True),
    ("rows unordered", "SELECT id FROM singer", "SELECT id FROM singer ORDER BY id DESC", True),
    ("in order without asking", "SELECT id FROM singer ORDER BY id", "SELECT id FROM singer", True),
    (
        "order counts under ORDER BY of the right query",
        "SELECT id FROM singer ORDER BY id",
        "SELECT id FROM singer ORDER BY id DESC",
        False,
    ),
    (
        "order of the prediction alone does not count",
        "SELECT name FROM singer WHERE age > 26",
        "SELECT name FROM singer WHERE age > 26 ORDER BY age DESC",
        True,
    ),
    (
        "order by something else",
        "SELECT name FROM singer ORDER BY age DESC",
        "SELECT name FROM singer ORDER BY height DESC",
        False,
    ),
    ("a bag counts rows", "SELECT country FROM singer", "SELECT name FROM singer", False),
    (
        "a bag counts duplicates",
        "SELECT country FROM singer",
        "SELECT country FROM singer GROUP BY country",
        False,
    ),
    (
        "a bag counts how often",
        "SELECT country FROM singer WHERE id IN (1, 2, 3)",
        "SELECT country FROM singer WHERE id IN (1, 2, 5)",
        False,
    ),
    ("columns permuted", "SELECT id, name FROM singer", "SELECT name, id FROM singer", True),
    (
        "three columns permuted",
        "SELECT id, name, age FROM singer",
        "SELECT age, id, name FROM singer",
        True,
    ),
    (
        "columns permuted in order",
        "SELECT id, name FROM singer ORDER BY id",
        "SELECT name, id FROM singer ORDER BY id",
        True,
    ),
    ("a permutation is one for all rows", "SELECT a, b FROM odd", "SELECT b, a FROM odd", True),
    (
        "cells may not swap row by row",
        "SELECT a, b FROM odd WHERE a <> 3",
        "SELECT min(a, b), max(a, b) FROM odd WHERE a <> 3",
        False,
    ),
    ("a column too many", "SELECT name FROM singer", "SELECT name, id FROM singer", False),
    ("a column too few", "SELECT name, id FROM singer", "SELECT name FROM singer", False),
    ("a column twice", "SELECT id, id FROM singer", "SELECT id FROM singer", False),
    (
        "DISTINCT is left out",
        "SELECT DISTINCT country FROM singer",
        "SELECT country FROM singer",
        True,
    ),
    (
        "DISTINCT is left out of the prediction",
        "SELECT country FROM singer",
        "SELECT DISTINCT country FROM singer",
        True,
    ),
    (
        "DISTINCT is left out of aggregates",
        "SELECT count(DISTINCT country) FROM singer",
        "SELECT count(country) FROM singer",
        True,
    ),
    (
        "a text that says DISTINCT is none",
        "SELECT 'DISTINCT' FROM singer",
        "SELECT '' FROM singer",
        False,
    ),
    (
        "both results empty",
        "SELECT name FROM singer WHERE age > 99",
        "SELECT name FROM singer WHERE age < 0",
        True,
    ),
    (
        "both results empty, other columns",
        "SELECT name FROM singer WHERE age > 99",
        "SELECT id, title FROM song WHERE id = 0",
        True,
    ),
    (
        "one result empty",
        "SELECT name FROM singer WHERE age > 99",
        "SELECT name FROM singer",
        False,
    ),
    (
        "an empty sum is a row with NULL",
        "SELECT sum(age) FROM singer WHERE age > 99",
        "SELECT age FROM singer WHERE age > 99",
        False,
    ),
    ("whole and real numbers", "SELECT age FROM singer", "SELECT age * 1.0 FROM singer", True),
    ("a number is no text", "SELECT a FROM odd", "SELECT c FROM odd", False),
    ("NULL equals NULL", "SELECT height FROM singer", "SELECT height + 0 FROM singer", True),
    (
        "NULL is not 0",
        "SELECT height FROM singer WHERE id = 3",
        "SELECT 0 FROM singer WHERE id = 3",
        False,
    ),
    ("case of values counts", "SELECT name FROM singer", "SELECT upper(name) FROM singer", False),
    (
        "> = is mended",
        "SELECT name FROM singer WHERE age >= 30",
        "SELECT name FROM singer WHERE age > = 30",
        True,
    ),
    (
        "! = is mended",
        "SELECT name FROM singer WHERE country != 'Spain'",
        "SELECT name FROM singer WHERE country ! = 'Spain'",
        True,
    ),
    (
        "YEAR(CURDATE()) is 2020",
        "SELECT 2020 - age FROM singer",
        "SELECT YEAR(CURDATE()) - age FROM singer",
        True,
    ),
    ("what fails is wrong", "SELECT name FROM singer", "SELECT nam FROM singer", False),
    (
        "what fails is wrong beside an empty result",
        "SELECT name FROM singer WHERE age > 99",
        "SELECT nam FROM singer WHERE age > 99",
        False,
    ),
    (
        "another way to the same rows",
        "SELECT name FROM singer WHERE id NOT IN (SELECT singer_id FROM song)",
        "SELECT T1.name FROM singer AS T1 LEFT JOIN song AS T2 ON T1.id = T2.singer_id "
        "WHERE T2.id IS NULL",
        True,
    ),
    (
        "right by chance is right on one database",
        "SELECT name FROM singer WHERE age > 50",
        "SELECT name FROM singer WHERE height > 1.75",
        True,
    ),
    (
        "a join that repeats rows",
        "SELECT name FROM singer WHERE id IN (SELECT singer_id FROM song)",
        "SELECT name FROM singer JOIN song ON singer.id = singer_id",
        False,
    ),
]
# The reference looks for the words "order by" anywhere in the right query, and compares floats
# bit by bit.
OURS = [
    (
        "an ORDER BY inside does not order the rows outside",
        "SELECT id FROM singer WHERE age >= (SELECT age FROM singer ORDER BY age LIMIT 1)",
        "SELECT id FROM singer ORDER BY id DESC",
        True,
    ),
    ("rounding does not count", "SELECT 0.3 FROM odd", "SELECT 0.1 + 0.2 FROM odd", True),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("rules") / "music.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)
    return path


def test_there_are_forty_pairs_each_with_a_rule_of_its_own():
    assert len(PAIRS) == len({rule for rule, *_ in PAIRS}) == 40
    assert sum(right for *_, right in PAIRS) == 22


@pytest.mark.parametrize(("rule", "gold", "predicted", "right"), PAIRS + OURS)
def test_a_prediction_is_judged_by_the_reference_rules(rule, gold, predicted, right, database):
    (scores,) = score_rows([predicted], [gold], [database])
    assert scores["execution_accuracy"] == (100 if right else 0), rule


def test_distinct_counts_where_it_is_kept(database):
    pair = ["SELECT country FROM singer"], ["SELECT DISTINCT country FROM singer"]
    (kept,) = score_rows(*pair, [database], keep_distinct=True)
    (left_out,) = score_rows(*pair, [database])
    assert (kept["execution_accuracy"], left_out["execution_accuracy"]) == (0, 100)
