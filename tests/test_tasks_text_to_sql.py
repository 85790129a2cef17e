"""Questions to SQL: schema in the prompt, database beside the rows, scores by execution."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from jsonl import jsonl

from finetune.errors import DataError
from finetune.recipe.types import Data, Score, SqlSuite
from finetune.tasks import TASKS
from finetune.tasks.schema import schema_text
from finetune.tasks.scored import written

TASK = TASKS["text_to_sql"]
ROW = {"db_id": "pets", "question": "How many pets?", "query": "SELECT count(*) FROM pet;"}
TABLES = """
CREATE TABLE "owner" (id integer PRIMARY KEY, "first name" varchar(20), "order" NUMERIC(3, 1));
CREATE TABLE pet (a int, b int, owner int REFERENCES owner (id), PRIMARY KEY (a, b));
CREATE TABLE "group" (x);
INSERT INTO pet VALUES (1, 1, NULL);
"""


def make(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)
    return path


@pytest.fixture(params=["pets.sqlite", "pets/pets.sqlite"])
def data(request, tmp_path):
    make(tmp_path / "database" / request.param)
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW))
    return Data(task="text_to_sql", path=str(tmp_path / "rows.jsonl"))


def test_a_row_finds_its_database_in_both_layouts_of_the_folder(data):
    (row,) = TASK.prepare([ROW], data)
    assert TASK.score(["```sql\nSELECT 1;\n```"], [row])["execution_accuracy"] == 100
    assert "database" not in ROW


def test_a_missing_database_is_named_with_its_row(data):
    with pytest.raises(DataError, match=r"rows\.jsonl row 2: the database 'cars' is missing"):
        TASK.prepare([ROW, {**ROW, "db_id": "cars"}], data)


def test_a_row_that_names_no_tables_is_refused(data):
    with pytest.raises(DataError, match="row 1: neither 'db_id' nor 'context'"):
        TASK.prepare([{"question": "q", "query": "SELECT 1"}], data)


def test_a_missing_database_is_not_replaced_by_an_empty_one_where_others_lie(data):
    with pytest.raises(DataError, match="'cars' is missing"):
        TASK.prepare([{**ROW, "db_id": "cars", "context": "CREATE TABLE t (a)"}], data)


def test_the_prompt_holds_the_schema_and_the_question_but_not_the_query(data):
    (row,) = TASK.prepare([ROW], data)
    prompt = TASK.prompt(row)
    assert "CREATE TABLE pet (" in prompt and prompt.endswith("How many pets?")
    assert "count(*)" not in prompt
    assert TASK.answer(row) == "SELECT count(*) FROM pet"


def test_a_schema_is_short_and_quotes_only_what_sql_would_not_take(tmp_path):
    path = make(tmp_path / "one.sqlite")
    assert schema_text(path).split("\n") == [
        'CREATE TABLE owner (id integer PRIMARY KEY, "first name" varchar, "order" numeric)',
        "CREATE TABLE pet (a int, b int, owner int REFERENCES owner(id), PRIMARY KEY (a, b))",
        'CREATE TABLE "group" (x)',
    ]


def test_a_schema_is_read_again_when_its_database_changes(tmp_path):
    path = make(tmp_path / "one.sqlite")
    before = schema_text(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE later (a)")
    assert schema_text(path) != before


def test_schema_text_of_a_row_stands_in_the_prompt_on_short_lines():
    row = {**ROW, "context": "CREATE TABLE pet (\n  a int\n);\nCREATE TABLE car (b int);"}
    assert "CREATE TABLE pet ( a int )\nCREATE TABLE car (b int)\n" in TASK.prompt(row)


def test_a_right_query_that_fails_is_found_before_any_model_answers(data):
    rows = TASK.prepare([ROW, {**ROW, "query": "SELECT nope FROM pet"}], data)
    with pytest.raises(DataError, match="row 2: the right query fails: no such column: nope"):
        TASK.check(rows)


def test_the_schemas_of_spider_are_valid_sql_and_all_its_queries_run_on_them(realdata):
    path = realdata / "spider" / "dev.jsonl"
    rows = TASK.prepare(jsonl(path), Data(task="text_to_sql", path=str(path)))[::7]
    on_text = [{"query": row["query"], "context": _tables(row)} for row in rows]
    assert TASK.score([row["query"] for row in rows], on_text)["valid_sql"] == 100


def _tables(row):
    lines = TASK.prompt(row).split("\n")
    return ";\n".join(line for line in lines if line.startswith("CREATE TABLE"))


def test_details_show_what_each_query_returns_or_why_it_fails(data):
    (row,) = TASK.prepare([ROW], data)
    (shown,) = TASK.details({"base": ["SELEC 1"], "sft": ["SELECT 1, NULL;"]}, [row])
    assert shown["gold"] == {
        "sql": "SELECT count(*) FROM pet",
        "error": "",
        "columns": ["count(*)"],
        "rows": [["1"]],
        "row_count": 1,
    }
    failed, wrong = shown["models"]["base"], shown["models"]["sft"]
    assert (failed["verdict"], failed["rows"]) == ("fails", [])
    assert 'near "SELEC": syntax error' in failed["error"]
    assert (wrong["verdict"], wrong["rows"]) == ("wrong", [["1", None]])


def test_details_are_short_and_can_be_written_as_json(data):
    (row,) = TASK.prepare([ROW], data)
    long = (
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t LIMIT 50) "
        "SELECT printf('%.500c', 'a'), CAST(x'ff' AS TEXT), x'00ff' FROM t"
    )
    (shown,) = TASK.details({"sft": [long]}, [row])
    result = shown["models"]["sft"]
    assert (result["row_count"], len(result["rows"])) == (50, 10)
    text, broken, raw = result["rows"][0]
    assert (len(text), broken, raw) == (80, "?", "x'00ff'")
    json.dumps(shown, ensure_ascii=False).encode()


def test_the_baseline_is_the_query_asked_most_often_of_that_database():
    train = [
        {"db_id": "pets", "query": "SELECT 2"},
        *[{"db_id": "cars", "query": "SELECT 1"}] * 2,
        {"db_id": "pets", "query": "SELECT 2 ;"},
        {"db_id": "pets", "query": "SELECT 1"},
    ]
    rows = [{"db_id": "pets"}, {"db_id": "unseen"}, {"context": "CREATE TABLE t (a)"}]
    found = TASK.baselines(train, rows)
    assert found == {"most_frequent_query": ["SELECT 2", "SELECT 1", "SELECT 1"]}
    assert TASK.baselines([], rows[:1]) == {"most_frequent_query": [""]}


def test_an_answer_is_the_query_in_the_layout_of_sql_create_context(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}")
    given = {"question": "q", "answer": "SELECT a FROM t", "context": "CREATE TABLE t (a)"}
    (row,) = TASK.prepare([given], Data(task="text_to_sql", path=str(tmp_path / "rows.jsonl")))
    assert TASK.answer(row) == "SELECT a FROM t"


CONTEXT = {
    "question": "Which heads are older than 56?",
    "answer": "SELECT COUNT(*) FROM head WHERE age > 56",
    "context": "CREATE TABLE head (age INTEGER)",
}


def test_rows_with_a_schema_alone_are_run_on_a_filled_copy_of_it():
    rows = TASK.prepare([CONTEXT] * 3, Data(task="text_to_sql", split="test"))
    wrong = "SELECT COUNT(*) FROM head WHERE age >= 56"
    right, off, other = TASK.score_rows(
        ["SELECT count(age) FROM head WHERE NOT age <= 56", wrong, "SELECT age FROM head"], rows
    )
    assert right["execution_accuracy"] == right["test_suite_accuracy"] == 100
    assert off["test_suite_accuracy"] == other["execution_accuracy"] == 0
    assert right["gold_empty"] == off["both_empty"] == 0


def test_without_copies_a_schema_alone_is_an_empty_database():
    task = written(Score(task="text_to_sql", suite=SqlSuite(copies=0)))
    rows = task.prepare([CONTEXT], Data(task="text_to_sql", split="test"))
    (scores,) = task.score_rows(["SELECT COUNT(*) FROM head"], rows)
    assert scores["execution_accuracy"] == scores["test_suite_accuracy"] == 100


def test_right_by_chance_is_told_from_right(data):
    (row,) = TASK.prepare([ROW], data)
    (shown,) = TASK.details({"one": ["SELECT 1"], "all": ["SELECT count(a) FROM pet"]}, [row])
    verdicts = {name: each["verdict"] for name, each in shown["models"].items()}
    assert verdicts == {"one": "right by chance", "all": "right"}


def test_rows_are_told_apart_by_how_hard_they_are(data):
    rows = TASK.prepare([ROW, {**ROW, "query": "SELECT a, b FROM pet"}], data)
    assert TASK.groups(rows) == {"hardness": ["easy", "medium"]}


def test_distinct_counts_where_the_recipe_keeps_it(data):
    keeping = written(Score(task="text_to_sql", suite=SqlSuite(copies=2, keep_distinct=True)))
    (row,) = TASK.prepare([{**ROW, "query": "SELECT DISTINCT a FROM pet"}], data)
    every = ["SELECT a FROM pet"]
    assert TASK.score(every, [row])["test_suite_accuracy"] == 100
    assert keeping.score(every, [row])["test_suite_accuracy"] == 0
