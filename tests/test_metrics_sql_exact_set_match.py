"""Exact set match and hardness, by Spider's rules."""

from __future__ import annotations

from collections import Counter

import pytest
from jsonl import jsonl

from finetune.metrics.sql_exact_set_match.clauses import Options
from finetune.metrics.sql_exact_set_match.scoring import describe, hardnesses, score_rows
from finetune.metrics.sql_execution.sandbox import Limits, Schema
from finetune.metrics.sql_parse import parse

TABLES = """
CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, country TEXT, age INT);
CREATE TABLE song (id INTEGER PRIMARY KEY, title TEXT, singer_id INT REFERENCES singer (id));
"""
JOINED = "FROM singer AS T1 JOIN song AS T2 ON T1.id = T2.singer_id"


@pytest.fixture(scope="module")
def music():
    (description,) = describe([Schema(TABLES)], Limits())
    return description


def match(gold, predicted, music, **options):
    return score_rows([predicted], [gold], [music], Options(**options)) == [100]


SAME = [
    ("SELECT name, age FROM singer", "select AGE , Name from SINGER"),
    ("SELECT name FROM singer WHERE age > 3", "SELECT T1.name FROM singer AS T1 WHERE T1.age > 9"),
    (
        "SELECT name FROM singer WHERE age > 3 AND country = 'a'",
        'SELECT name FROM singer WHERE country = "b" AND age > 4',
    ),
    (f"SELECT T1.name {JOINED}", "SELECT singer.name FROM song JOIN singer ON song.id = 3"),
    (
        f"SELECT count(*) {JOINED} GROUP BY T1.id",
        f"SELECT count(*) {JOINED} GROUP BY T2.singer_id",
    ),
    ("SELECT DISTINCT name FROM singer", "SELECT name FROM singer"),
    ("SELECT count(DISTINCT name) FROM singer", "SELECT count(name) FROM singer"),
    (
        "SELECT name FROM singer ORDER BY age LIMIT 1",
        "SELECT name FROM singer ORDER BY age LIMIT 5",
    ),
    (
        "SELECT name FROM singer WHERE id IN (SELECT singer_id FROM song WHERE title = 'x')",
        "SELECT name FROM singer WHERE id IN (SELECT T.singer_id FROM song T WHERE T.title = 'y')",
    ),
    (
        "SELECT country, count(*) FROM singer GROUP BY country ORDER BY count(*) DESC",
        "SELECT count(*) AS n, country FROM singer GROUP BY country ORDER BY n DESC",
    ),
    ("SELECT name FROM singer WHERE age <> 1", "SELECT name FROM singer WHERE (age != 2)"),
    ("SELECT name FROM singer WHERE age IN (1, 2)", "SELECT name FROM singer WHERE age IN (3)"),
    (
        "SELECT name FROM singer WHERE age > 1 UNION SELECT title FROM song",
        "SELECT name FROM singer WHERE age > 2 UNION SELECT title FROM song",
    ),
]
OTHER = [
    ("SELECT name FROM singer", "SELECT name, age FROM singer"),
    ("SELECT name FROM singer", "SELECT title FROM song"),
    ("SELECT max(age) FROM singer", "SELECT min(age) FROM singer"),
    ("SELECT name FROM singer WHERE age > 3", "SELECT name FROM singer WHERE age >= 3"),
    ("SELECT name FROM singer WHERE age > 3", "SELECT name FROM singer"),
    (
        "SELECT name FROM singer WHERE age > 3 AND country = 'a'",
        "SELECT name FROM singer WHERE age > 3 OR country = 'a'",
    ),
    ("SELECT name FROM singer ORDER BY age", "SELECT name FROM singer ORDER BY age DESC"),
    ("SELECT name FROM singer ORDER BY age LIMIT 1", "SELECT name FROM singer ORDER BY age"),
    (f"SELECT T1.name {JOINED}", "SELECT name FROM singer"),
    (f"SELECT T1.name {JOINED}", f"SELECT T1.name {JOINED.replace('JOIN', 'LEFT JOIN')}"),
    (
        "SELECT country FROM singer GROUP BY country HAVING count(*) > 1",
        "SELECT country FROM singer GROUP BY country",
    ),
    (
        "SELECT name FROM singer UNION SELECT title FROM song",
        "SELECT name FROM singer INTERSECT SELECT title FROM song",
    ),
    (
        "SELECT name FROM singer WHERE id NOT IN (SELECT singer_id FROM song)",
        "SELECT name FROM singer WHERE id IN (SELECT singer_id FROM song)",
    ),
    ("SELECT name FROM singer", "SELEC name"),
    ("SELECT name FROM singer", ""),
]


@pytest.mark.parametrize(("gold", "predicted"), SAME)
def test_clauses_are_sets_without_values_aliases_and_distinct(gold, predicted, music):
    assert match(gold, predicted, music)


@pytest.mark.parametrize(("gold", "predicted"), OTHER)
def test_a_clause_that_says_something_else_does_not_match(gold, predicted, music):
    assert not match(gold, predicted, music)


def test_values_and_distinct_count_where_they_are_asked_for(music):
    assert not match(
        "SELECT id FROM song WHERE id = 1", "SELECT id FROM song WHERE id = 2", music, values=True
    )
    assert not match("SELECT DISTINCT id FROM song", "SELECT id FROM song", music, distinct=True)


def test_a_name_in_double_quotes_that_no_column_has_is_a_text(music):
    gold = 'SELECT name FROM singer WHERE country = "France"'
    assert match(gold, "SELECT name FROM singer WHERE country = 'Spain'", music)
    assert not match(gold, 'SELECT name FROM singer WHERE country = "name"', music)


def test_a_right_query_that_cannot_be_read_is_matched_by_its_text_alone(music):
    gold = "SELECT name FROM singer WHERE " + "(" * 9000
    assert match(gold, gold.lower(), music)
    assert not match(gold, "SELECT name FROM singer", music)


HARDNESS = {
    "SELECT count(*) FROM singer": "easy",
    "SELECT name FROM singer WHERE age > 3": "easy",
    "SELECT name, age FROM singer": "medium",
    "SELECT name FROM singer WHERE age > 3 ORDER BY age": "medium",
    f"SELECT T1.name {JOINED} WHERE T2.title = 'x'": "medium",
    f"SELECT T1.name {JOINED} WHERE T2.title = 'x' GROUP BY T1.id": "hard",
    "SELECT name FROM singer WHERE age > (SELECT avg(age) FROM singer)": "hard",
    "SELECT name FROM singer UNION SELECT title FROM song": "hard",
    "SELECT name, age FROM singer WHERE id NOT IN (SELECT singer_id FROM song)": "extra",
    f"SELECT T1.name {JOINED} WHERE T2.title = 'x' GROUP BY T1.id ORDER BY T1.id LIMIT 1": "extra",
}


def test_hardness_is_told_by_words_nesting_and_what_comes_more_than_once(music):
    found = hardnesses(list(HARDNESS), [music] * len(HARDNESS))
    assert dict(zip(HARDNESS, found, strict=True)) == HARDNESS


COUNTS = {"easy": 106, "medium": 242, "hard": 90, "extra": 108}


def test_every_right_query_of_spider_matches_itself_and_has_a_hardness(realdata):
    """The counts are those of the reference evaluation on the same 546 queries."""
    rows = jsonl(realdata / "spider" / "dev.jsonl")
    files = [realdata / "spider" / "database" / f"{row['db_id']}.sqlite" for row in rows]
    found = describe(files, Limits())
    gold = [row["query"] for row in rows]
    respelled = [parse(query).sql("sqlite") for query in gold]
    assert set(score_rows(respelled, gold, found)) == {100}
    assert Counter(hardnesses(gold, found)) == COUNTS
