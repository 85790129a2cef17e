"""Filled copies of a database: keys hold, right queries return rows, wrong ones are caught."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from jsonl import jsonl

from finetune.metrics.sql_exact_set_match.scoring import describe
from finetune.metrics.sql_execution.sandbox import Limits, Schema
from finetune.metrics.sql_execution.worker import Worker
from finetune.metrics.sql_test_suite import scoring
from finetune.metrics.sql_test_suite.suite import build, cached
from finetune.metrics.sql_test_suite.ties import equal_in_groups, groups

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import sql_mutants

TABLES = """
CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, mail TEXT UNIQUE);
CREATE TABLE kind (code CHAR(3) PRIMARY KEY, label TEXT);
CREATE TABLE pet (
    id INTEGER PRIMARY KEY, owner_id INT NOT NULL REFERENCES owner (id),
    kind TEXT REFERENCES kind, name TEXT, age INT CHECK (age >= 0), weight REAL
);
CREATE TABLE visit (pet_id INT, day DATE, cost REAL, PRIMARY KEY (pet_id, day),
    FOREIGN KEY (pet_id) REFERENCES pet (id));
"""
GOLDS = [
    "SELECT count(*) FROM pet",
    "SELECT name FROM pet WHERE age > 5",
    "SELECT name FROM pet WHERE age BETWEEN 2 AND 4 AND kind = 'cat'",
    "SELECT DISTINCT city FROM owner",
    "SELECT T1.name, count(*) FROM owner AS T1 JOIN pet AS T2 ON T1.id = T2.owner_id "
    "GROUP BY T1.id HAVING count(*) >= 2",
    "SELECT name FROM pet ORDER BY weight DESC LIMIT 1",
    "SELECT name FROM owner WHERE id NOT IN (SELECT owner_id FROM pet WHERE kind = 'dog')",
    "SELECT T1.name FROM owner AS T1 JOIN pet AS T2 ON T1.id = T2.owner_id WHERE T2.kind = 'cat' "
    "INTERSECT SELECT T1.name FROM owner AS T1 JOIN pet AS T2 ON T1.id = T2.owner_id "
    "WHERE T2.kind = 'dog'",
    "SELECT T3.name FROM visit AS T1 JOIN pet AS T2 ON T1.pet_id = T2.id JOIN owner AS T3 "
    "ON T2.owner_id = T3.id WHERE T1.day = '2020-02-03' AND T1.cost >= 12.5",
    "SELECT name FROM owner WHERE city LIKE '%ton%'",
    "SELECT sum(cost), avg(cost) FROM visit WHERE day LIKE '2020%'",
    "SELECT max(age), kind FROM pet GROUP BY kind",
]
# (what is wrong, right query by its place above, wrong query)
WRONG = [
    ("WHERE dropped", 1, "SELECT name FROM pet"),
    ("> to >=", 1, "SELECT name FROM pet WHERE age >= 5"),
    ("edge of BETWEEN", 2, "SELECT name FROM pet WHERE age > 2 AND age <= 4 AND kind = 'cat'"),
    ("condition dropped", 2, "SELECT name FROM pet WHERE age BETWEEN 2 AND 4"),
    ("DISTINCT dropped", 3, "SELECT city FROM owner"),
    ("HAVING by one", 4, GOLDS[4].replace(">= 2", "> 2")),
    ("grouped by name", 4, GOLDS[4].replace("GROUP BY T1.id", "GROUP BY T1.name")),
    ("order turned round", 5, "SELECT name FROM pet ORDER BY weight LIMIT 1"),
    ("IN for NOT IN", 6, GOLDS[6].replace("NOT IN", "IN")),
    (
        "condition inside dropped",
        6,
        "SELECT name FROM owner WHERE id NOT IN (SELECT owner_id FROM pet)",
    ),
    ("OR for INTERSECT", 7, GOLDS[7].replace("INTERSECT", "UNION")),
    ("cost above", 8, GOLDS[8].replace(">=", ">")),
    ("another day", 8, GOLDS[8].replace("02-03", "02-04")),
    ("LIKE at the end alone", 9, "SELECT name FROM owner WHERE city LIKE '%ton'"),
    ("SUM for AVG", 10, GOLDS[10].replace("avg", "sum")),
    ("MIN for MAX", 11, GOLDS[11].replace("max", "min")),
    ("COUNT of a column with NULL", 0, "SELECT count(kind) FROM pet"),
]


@pytest.fixture(scope="module")
def worker():
    with Worker() as worker:
        yield worker


@pytest.fixture(scope="module")
def pets():
    (description,) = describe([Schema(TABLES)], Limits())
    return description


@pytest.fixture(scope="module")
def suite(worker, pets):
    return build(worker, pets, GOLDS, 8, Limits())


def test_copies_are_the_same_for_the_same_and_different_from_each_other(worker, pets, suite):
    again = build(worker, pets, GOLDS, 8, Limits())
    assert [copy.database for copy in again] == [copy.database for copy in suite]
    assert len({copy.database for copy in suite}) == 8


def test_keys_types_and_checks_of_the_schema_hold_in_every_copy(suite):
    for copy in suite:
        with closing(sqlite3.connect(":memory:")) as connection:
            # Nothing was left out: plain INSERT takes every row.
            connection.executescript(copy.database.sql.replace("INSERT OR IGNORE", "INSERT"))
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("SELECT min(typeof(id)) FROM owner").fetchone() == (
                "integer",
            )


def test_every_right_query_returns_rows_on_most_copies(suite):
    for gold in GOLDS:
        assert sum(gold not in copy.empty for copy in suite) >= 5, gold


def test_copies_have_ties_duplicates_nulls_and_rows_without_partners(worker, suite):
    def somewhere(query):
        return any(worker.run(copy.database, query, Limits()).rows for copy in suite)

    assert somewhere("SELECT age FROM pet GROUP BY age HAVING count(*) > 1")
    assert somewhere("SELECT name, city FROM owner GROUP BY name, city HAVING count(*) > 1")
    assert somewhere("SELECT 1 FROM pet WHERE kind IS NULL")
    assert somewhere("SELECT 1 FROM owner WHERE id NOT IN (SELECT owner_id FROM pet)")


@pytest.mark.parametrize(("what", "gold", "wrong"), WRONG)
def test_a_wrong_query_is_caught_by_some_copy(what, gold, wrong, suite):
    scores = scoring.score_rows([wrong], [GOLDS[gold]], [suite], keep_distinct=True)
    assert scores == [0], what


def test_a_right_query_is_right_in_any_words(suite):
    same = [
        "select COUNT( * ) from pet as p",
        "SELECT p.name FROM pet AS p WHERE NOT p.age <= 5",
        "SELECT name FROM pet WHERE kind = 'cat' AND age <= 4 AND age >= 2",
        "SELECT city FROM owner GROUP BY city",
        "SELECT O.name, count(P.id) FROM pet P JOIN owner O ON P.owner_id = O.id "
        "GROUP BY O.id HAVING 2 <= count(P.id)",
        "SELECT name FROM pet ORDER BY weight DESC LIMIT 1",
        "SELECT name FROM owner o WHERE NOT EXISTS "
        "(SELECT 1 FROM pet WHERE owner_id = o.id AND kind = 'dog')",
    ]
    golds = GOLDS[: len(same)]
    assert set(scoring.score_rows(same, golds, [suite] * len(same), keep_distinct=True)) == {100}


def test_distinct_counts_only_where_it_is_kept(suite, pets):
    (left_out,) = scoring.suites([GOLDS[3]], [pets], 4)
    assert scoring.score_rows(["SELECT city FROM owner"], [GOLDS[3]], [left_out]) == [100]


def test_a_query_that_fails_is_wrong(suite):
    assert scoring.score_rows(["SELECT nothing FROM pet"], [GOLDS[0]], [suite]) == [0]


TIED = Schema("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (1, 'y'), (2, 'z')")


@pytest.mark.parametrize(
    ("gold", "ends"),
    [
        ("SELECT b FROM t ORDER BY a DESC LIMIT 1", (1,)),
        ("SELECT b FROM t ORDER BY a LIMIT 1", None),  # x or y, as SQLite likes
        ("SELECT b FROM t ORDER BY a", (2, 3)),  # x and y in either order, then z
        ("SELECT b FROM t ORDER BY a DESC", (1, 3)),
        ("SELECT b FROM t LIMIT 1", None),
        ("SELECT b FROM t WHERE a = (SELECT a FROM t ORDER BY a LIMIT 1)", (2,)),
        ("SELECT a FROM t ORDER BY a", (1, 2, 3)),  # the same whichever of them comes first
        ("SELECT b FROM t", (3,)),
    ],
)
def test_what_ties_leave_open_is_not_held_against_anyone(gold, ends, worker):
    rows = worker.run(TIED, gold, Limits()).rows
    assert groups(worker, TIED, gold, rows, Limits()) == ends


def test_rows_may_change_places_within_a_tie_and_nowhere_else():
    gold = [("x", 1), ("y", 1), ("z", 2)]
    assert equal_in_groups(gold, [(1, "y"), (1, "x"), (2, "z")], (2, 3))
    assert not equal_in_groups(gold, [("x", 1), ("z", 2), ("y", 1)], (2, 3))
    assert not equal_in_groups(gold, gold[:2], (2, 3))
    assert equal_in_groups([], [], ())


def test_copies_are_kept_in_the_cache_and_a_torn_file_is_made_anew(
    worker, pets, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = cached(worker, pets, GOLDS[:3], 2, Limits())
    (file,) = (tmp_path / "finetune" / "sql_test_suite").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:100])
    assert cached(worker, pets, GOLDS[:3], 2, Limits()) == made
    assert file.read_bytes() == content
    monkeypatch.setattr("finetune.metrics.sql_test_suite.suite.build", None)
    assert cached(worker, pets, GOLDS[:3], 2, Limits()) == made


def test_a_schema_of_any_kind_can_be_filled(worker):
    (description,) = describe(
        [
            Schema(
                'CREATE TABLE "a b" ("x y" INT PRIMARY KEY, "q""q" TEXT, g AS ("x y" + 1));'
                "CREATE TABLE chicken (id INT PRIMARY KEY, egg INT REFERENCES egg (id));"
                "CREATE TABLE egg (id INT PRIMARY KEY, chicken INT NOT NULL REFERENCES chicken);"
                "CREATE TABLE self (id INTEGER PRIMARY KEY, up INT REFERENCES self);"
                "CREATE TABLE s (i INT, t TEXT, r REAL, b BLOB) STRICT;"
                "CREATE TABLE w (k TEXT PRIMARY KEY, v) WITHOUT ROWID;"
                "CREATE TABLE one (x INT PRIMARY KEY CHECK (x = 1));"
                "CREATE VIEW v AS SELECT v FROM w;"
            )
        ],
        Limits(),
    )
    golds = [
        'SELECT "q""q" FROM "a b" WHERE "x y" > 3',
        "SELECT i FROM s WHERE t = 'x'",
        "SELECT * FROM v",
    ]
    suite = build(worker, description, golds, 3, Limits())
    for gold in golds:
        assert any(gold not in copy.empty for copy in suite), gold


@pytest.mark.heavy
def test_most_wrong_queries_of_spider_are_caught_and_far_more_than_by_one_database(
    realdata, monkeypatch
):
    """The whole of it: benchmarks/sql_mutants.py."""
    monkeypatch.setattr(sql_mutants, "SHUFFLED", 40)
    monkeypatch.setattr(sql_mutants, "SMALL", 40)
    rows = [each for each in jsonl(realdata / "spider" / "dev.jsonl") if each["db_id"] == "pets_1"]
    golds = list(dict.fromkeys(row["query"] for row in rows))[:12]
    found = sql_mutants.Found()
    with Worker() as worker:
        file = realdata / "spider" / "database" / "pets_1.sqlite"
        sql_mutants.measure(worker, file, golds, 8, found)
    assert len(found.mutants) > 150
    assert sum(mutant.by_suite for mutant in found.mutants) >= 0.97 * len(found.mutants)
    assert sum(mutant.by_one for mutant in found.mutants) < 0.9 * len(found.mutants)
    assert sum(found.rewritten.values()) >= 30
    assert not sum(found.alarms.values())


@pytest.mark.heavy
def test_every_right_query_of_spider_is_right_on_every_copy(realdata):
    rows = jsonl(realdata / "spider" / "dev.jsonl")
    gold = [row["query"] for row in rows]
    files = [realdata / "spider" / "database" / f"{row['db_id']}.sqlite" for row in rows]
    suites = scoring.suites(gold, describe(files, Limits()), 4)
    respelled = [f"{query.rstrip('; ')} -- the same" for query in gold]
    assert set(scoring.score_rows(respelled, gold, suites)) == {100}
