"""Execution accuracy, and that no predicted query can harm anything."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from jsonl import jsonl

from finetune.errors import DataError
from finetune.metrics import mean
from finetune.metrics.sql_execution.sandbox import Limits, Schema
from finetune.metrics.sql_execution.scoring import check_rows, score_rows
from finetune.metrics.sql_execution.worker import Worker

LIMITS = Limits(steps=2_000_000, seconds=5)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("sql") / "shop ü #1?.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE item (id int, name text, price real)")
        rows = [(n, f"item {n}", n / 10) for n in range(50)]
        connection.executemany("INSERT INTO item VALUES (?, ?, ?)", rows)
        connection.execute("INSERT INTO item VALUES (99, CAST(x'ff41' AS TEXT), NULL)")
        connection.commit()
    return path


@pytest.fixture(scope="module")
def worker():
    with Worker() as worker:
        yield worker


def score(predicted, gold, database):
    return score_rows([predicted], [gold], [database], LIMITS)[0]


def test_a_query_is_right_when_it_returns_the_right_rows(database):
    scores = score(
        "SELECT name FROM item WHERE id <= 1", "SELECT name FROM item WHERE id < 2", database
    )
    assert scores["execution_accuracy"] == scores["valid_sql"] == 100
    assert scores["exact_match"] == scores["both_empty"] == 0


def test_the_order_of_rows_counts_where_the_right_query_asks_for_one(database):
    up, down = "SELECT id FROM item ORDER BY id", "SELECT id FROM item ORDER BY id DESC"
    assert score(down, up, database)["execution_accuracy"] == 0
    assert score(down, "SELECT id FROM item", database)["execution_accuracy"] == 100


def test_a_query_that_returns_other_rows_is_valid_and_wrong(database):
    scores = score("SELECT id FROM item", "SELECT name FROM item", database)
    assert (scores["execution_accuracy"], scores["valid_sql"]) == (0, 100)


@pytest.mark.parametrize("nothing", ["", "-- only a comment", "SELEC 1", "SELECT ?", "SELECT \0"])
def test_what_is_no_query_is_invalid_and_not_an_empty_result(nothing, database):
    scores = score(nothing, "SELECT id FROM item WHERE id < 0", database)
    assert scores.pop("gold_empty") == 100
    assert set(scores.values()) == {0}


def test_two_empty_results_count_as_right_and_are_reported_apart(database):
    scores = score("SELECT 1 WHERE 0", "SELECT id FROM item WHERE id < 0", database)
    assert scores["execution_accuracy"] == scores["both_empty"] == 100


def test_bytes_that_are_no_utf8_can_be_read_and_compared(database):
    query = "SELECT name FROM item WHERE id = 99"
    assert score(query, query, database)["execution_accuracy"] == 100
    assert score("SELECT CAST(x'fe41' AS TEXT)", query, database)["execution_accuracy"] == 0


def test_random_order_gives_the_same_score_every_time(database):
    query = "SELECT id FROM item ORDER BY random() LIMIT 3"
    assert score(query, query, database)["execution_accuracy"] == 100


ATTACKS = {
    "drop": "DROP TABLE item",
    "delete": "DELETE FROM item",
    "insert": "INSERT INTO item VALUES (1, 'x', 1)",
    "create": "CREATE TEMP TABLE x AS SELECT 1",
    "attach": "ATTACH '{aside}' AS other",
    "vacuum": "VACUUM INTO '{aside}'",
    "pragma": "PRAGMA writable_schema = 1",
    "pragma function": "SELECT * FROM pragma_database_list",
    "two statements": "SELECT 1; DROP TABLE item",
    "load": "SELECT load_extension('x')",
    "read a file": "SELECT readfile('/etc/hostname')",
    "zeroblob": "SELECT zeroblob(1e9)",
    "randomblob": "SELECT randomblob(100)",
    "replace": "SELECT replace(printf('%.90000c', 'a'), 'a', printf('%.90000c', 'b'))",
    "deep": "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
    "sum": "SELECT 1" + "+1" * 5_000,
    "compound": "SELECT 1" + " UNION ALL SELECT 1" * 400,
    "long": "SELECT 1" + " " * 200_000,
}
TOO_MUCH = {
    "endless": "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x FROM t) SELECT max(x) FROM t",
    "endless rows": "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x FROM t) SELECT x FROM t",
    "cross join": "SELECT count(*) FROM item a, item b, item c, item d, item e WHERE a.id > e.id",
    "large rows": "SELECT zeroblob(900000) FROM item a, item b",
    "large row": "SELECT " + ", ".join(["zeroblob(900000)"] * 400),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_query_that_does_more_than_read_is_refused(attack, worker, database, tmp_path):
    aside = tmp_path / "aside.sqlite"
    before = database.read_bytes()
    outcome = worker.run(database, ATTACKS[attack].replace("{aside}", str(aside)), LIMITS)
    assert outcome.status == "error", outcome
    assert database.read_bytes() == before
    assert [file.name for file in database.parent.iterdir()] == [database.name]
    assert not aside.exists()


@pytest.mark.parametrize("query", TOO_MUCH)
def test_a_query_that_needs_too_much_is_stopped_by_its_work_and_not_by_the_clock(
    query, worker, database
):
    assert worker.run(database, TOO_MUCH[query], LIMITS).status == "over_limit"


def test_a_step_that_does_not_end_is_ended_and_the_next_query_runs(database):
    bomb = "SELECT " + " || ".join(["printf('%.2000000000c', 'a')"] * 9)
    with Worker() as worker:
        outcome = worker.run(database, bomb, Limits(seconds=0.1))
        assert (outcome.status, outcome.message) == ("timeout", "one step of the query did not end")
        assert worker.run(database, "SELECT 1", LIMITS).rows == ((1,),)


def test_memory_that_no_result_shows_is_bounded_too(worker, database):
    large = "WITH t AS MATERIALIZED (SELECT zeroblob(900000) || a.id AS z FROM item a, item b)"
    outcome = worker.run(database, f"{large} SELECT max(length(z)) FROM t", LIMITS)
    assert "memory" in outcome.message, outcome


def test_a_limit_of_time_is_reported_apart(worker, database):
    slow = TOO_MUCH["endless"]
    limits = Limits(steps=10**12, seconds=0.1)
    assert worker.run(database, slow, limits).message == "interrupted"  # by itself, not killed
    scores = score_rows([slow], ["SELECT 1"], [database], limits)[0]
    assert (scores["timeouts"], scores["over_limit"], scores["valid_sql"]) == (100, 0, 0)


def test_a_right_query_that_fails_names_its_row(database):
    with pytest.raises(DataError, match=r"row 2: the right query fails: no such table: nope"):
        score_rows(["SELECT 1"] * 2, ["SELECT 1", "SELECT * FROM nope"], [database] * 2, LIMITS)
    with pytest.raises(DataError, match="row 1"):
        check_rows(["SELECT nope FROM item"], [database], LIMITS)


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "text.sqlite").write_text("no database" * 100)
    with pytest.raises(DataError, match=r"text\.sqlite"):
        score("SELECT 1", "SELECT 1 FROM sqlite_master", tmp_path / "text.sqlite")
    with pytest.raises(DataError, match=r"absent\.sqlite"):
        score("SELECT 1", "SELECT 1", tmp_path / "absent.sqlite")


def test_schema_text_stands_for_an_empty_database():
    schema = Schema("CREATE TABLE t (a int); CREATE TABLE u (b int)")
    scores = score("SELECT a FROM t, u", "SELECT a FROM t", schema)
    assert scores["execution_accuracy"] == scores["both_empty"] == 100
    assert score("SELECT c FROM t", "SELECT a FROM t", schema)["valid_sql"] == 0


@pytest.mark.parametrize("attack", ["attach", "vacuum", "pragma"])
def test_schema_text_reaches_nothing_outside_its_memory(attack, tmp_path):
    aside = tmp_path / "aside.sqlite"
    schema = Schema("CREATE TABLE t (a); " + ATTACKS[attack].replace("{aside}", str(aside)))
    with pytest.raises(DataError, match=r"cannot be opened: .*(not authorized|denied)"):
        score("SELECT 1", "SELECT 1", schema)
    assert not aside.exists()


def test_every_right_query_of_spider_scores_100_and_its_mutants_less(realdata):
    rows = jsonl(realdata / "spider" / "dev.jsonl")
    gold = [row["query"] for row in rows]
    files = [realdata / "spider" / "database" / f"{row['db_id']}.sqlite" for row in rows]
    assert len(rows) == 546
    assert {each["execution_accuracy"] for each in score_rows(gold, gold, files)} == {100}
    counted = [(q, f) for q, f in zip(gold, files, strict=True) if "count(*)" in q.lower()]
    queries, places = zip(*counted, strict=True)
    mutants = [q.replace("count(*)", "sum(2)").replace("COUNT(*)", "sum(2)") for q in queries]
    assert mean(score_rows(mutants, queries, places))["execution_accuracy"] < 60
