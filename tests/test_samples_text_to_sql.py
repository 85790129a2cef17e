"""Checks on the embedded text-to-SQL sample: its queries run, its splits are apart, it varies."""

import json
import re
import sqlite3
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import pytest

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "src" / "finetune" / "assets" / "samples" / "text_to_sql"
PHRASINGS = ROOT / "data" / "text_to_sql" / "content" / "phrasings.toml"
ROWS = {"train": (4300, 4700), "test": (380, 430), "test_unseen_database": (180, 220)}
HARDNESS = {"easy": 0.4, "medium": 0.4, "hard": 0.2}
CLAUSES = [
    "WHERE",
    "LIKE",
    "BETWEEN",
    "IN (",
    "IS NULL",
    "IS NOT NULL",
    "!=",
    " AND ",
    " OR ",
    "COUNT(*)",
    "COUNT(DISTINCT",
    "SELECT DISTINCT",
    "MIN(",
    "MAX(",
    "AVG(",
    "SUM(",
    "ORDER BY",
    "DESC",
    "LIMIT",
    "GROUP BY",
    "HAVING",
    "JOIN",
    "NOT IN (SELECT",
    "> (SELECT AVG",
]

Row = dict[str, str]


def read(split: str) -> list[Row]:
    text = (SAMPLE / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def normal(text: str) -> str:
    return " ".join(text.lower().split())


def skeleton(query: str) -> str:
    """The query with its values, tables and columns masked."""
    masked = re.sub(r"'[^']*'|\b\d+(\.\d+)?\b", "?", query)
    return re.sub(r"\b[a-z_]+(\.[a-z_]+)?\b", "_", masked)


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Row]]:
    return {split: read(split) for split in ROWS}


@pytest.fixture(scope="module")
def every_row(splits) -> list[Row]:
    return [row for rows in splits.values() for row in rows]


@pytest.fixture(scope="module")
def databases():
    opened = {
        path.stem: sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        for path in sorted((SAMPLE / "database").glob("*.sqlite"))
    }
    yield opened
    for connection in opened.values():
        connection.close()


@pytest.fixture(scope="module")
def answers(every_row, databases) -> list[list[tuple]]:
    return [databases[row["db_id"]].execute(row["query"]).fetchall() for row in every_row]


def test_rows_hold_the_four_fields_and_splits_have_their_size(splits):
    for split, (fewest, most) in ROWS.items():
        assert fewest <= len(splits[split]) <= most, split
        assert {tuple(row) for row in splits[split]} == {("db_id", "question", "query", "hardness")}


def test_every_gold_query_runs_read_only_and_nearly_all_have_an_answer(every_row, answers):
    assert all(row["query"].startswith("SELECT ") for row in every_row)
    empty = sum(rows in ([], [(0,)], [(None,)]) for rows in answers)
    assert empty <= 0.05 * len(answers)


def test_no_order_and_no_limit_leaves_a_tie_open(every_row, databases):
    pattern = re.compile(r"^SELECT .*? (FROM .*) ORDER BY (.*?)( DESC)?(?: LIMIT (\d+))?$")
    for row in every_row:
        assert ("LIMIT" in row["query"]) <= ("ORDER BY" in row["query"]), row
        parts = pattern.match(row["query"])
        assert bool(parts) == ("ORDER BY" in row["query"]), row
        if parts:
            source, key, descending, limit = parts.groups()
            query = f"SELECT {key} {source} ORDER BY {key}{descending or ''}"
            keys = databases[row["db_id"]].execute(query).fetchall()
            decisive = keys[: int(limit) + 1] if limit else keys
            assert len(set(decisive)) == len(decisive), row


@pytest.mark.parametrize("field", ["question", "query"])
def test_no_question_and_no_query_of_a_test_split_occurs_in_train(splits, field):
    train = {normal(row[field]) for row in splits["train"]}
    for split in ("test", "test_unseen_database"):
        assert not train & {normal(row[field]) for row in splits[split]}, split


def test_test_asks_about_the_databases_of_train_and_the_unseen_ones_occur_nowhere_else(splits):
    used = {split: {row["db_id"] for row in rows} for split, rows in splits.items()}
    assert used["test"] == used["train"]
    assert len(used["train"]) == 12
    assert len(used["test_unseen_database"]) == 2
    assert not used["test_unseen_database"] & used["train"]


def test_unseen_databases_have_tables_of_their_own(splits, databases):
    def tables(split: str) -> set[str]:
        names = {row["db_id"] for row in splits[split]}
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        return {table for name in names for (table,) in databases[name].execute(query)}

    assert not tables("test_unseen_database") & tables("train")


def test_no_question_is_asked_twice(every_row):
    assert len({normal(row["question"]) for row in every_row}) == len(every_row)


def test_test_repeats_no_query(splits):
    queries = [normal(row["query"]) for row in splits["test"]]
    assert len(set(queries)) == len(queries)


def test_train_varies_in_queries_in_their_shapes_and_in_how_questions_start(splits):
    train = splits["train"]
    assert len({normal(row["query"]) for row in train}) >= 3000
    shapes = Counter(skeleton(row["query"]) for row in train)
    assert len(shapes) >= 80
    assert shapes.most_common(1)[0][1] <= 0.15 * len(train)
    assert len({tuple(row["question"].split()[:2]) for row in train}) >= 80


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("clause", CLAUSES)
def test_every_clause_is_taught_and_asked_for(splits, split, clause):
    assert sum(clause in row["query"] for row in splits[split]) >= (1 if split == "test" else 15)


def test_nearly_every_query_shape_of_test_is_taught_in_train(splits):
    taught = {skeleton(row["query"]) for row in splits["train"]}
    new = sum(skeleton(row["query"]) not in taught for row in splits["test"])
    assert new <= 0.05 * len(splits["test"])


def test_hardness_is_spread_as_meant(splits):
    for split, rows in splits.items():
        shares = Counter(row["hardness"] for row in rows)
        assert set(shares) == set(HARDNESS), split
        for hardness, share in HARDNESS.items():
            assert shares[hardness] / len(rows) == pytest.approx(share, abs=0.05), split


def test_hard_queries_nest_or_join_or_group_and_easy_ones_do_not(every_row):
    marks = re.compile(r"JOIN|\(SELECT|HAVING|GROUP BY")
    for row in every_row:
        if row["hardness"] != "medium":
            assert bool(marks.search(row["query"])) == (row["hardness"] == "hard"), row


def test_questions_and_queries_are_short(every_row):
    questions = [len(row["question"].split()) for row in every_row]
    assert max(questions) <= 21
    assert sum(6 <= count <= 20 for count in questions) >= 0.93 * len(questions)
    assert sum(len(row["query"].split()) < 25 for row in every_row) >= 0.95 * len(every_row)


def test_questions_are_sentences_without_stray_slots_or_spaces(every_row):
    for row in every_row:
        question = row["question"]
        assert question[0].isupper(), row
        assert question[-1] in ".?", row
        assert not re.search(r"[{}]|  | [,.?]|\bNone\b|\b[Aa] [aeiou]", question), row


def test_values_of_a_query_stand_in_its_question(every_row):
    """A model can copy them: text as it is in the database, numbers as digits."""
    for row in every_row:
        for value in re.findall(r"'%?([^'%]*)%?'", row["query"]):
            assert value in row["question"], row
        for number in re.findall(r"(?:[<>=]|BETWEEN|AND) (\d[\d.]*)", row["query"]):
            assert number in row["question"], row


def test_queries_keep_one_style(every_row):
    for row in every_row:
        query = row["query"]
        assert query == " ".join(query.split()), row
        assert '"' not in query and ";" not in query and " AS " not in query, row
        bare = re.sub(r"'[^']*'", "", query)
        assert ("." in re.sub(r"\d\.\d", "", bare)) == ("JOIN" in query), row


def test_every_kind_of_question_has_at_least_six_wordings():
    kinds = tomllib.loads(PHRASINGS.read_text(encoding="utf-8"))
    assert len(kinds) >= 25
    assert [name for name, kind in kinds.items() if len(set(kind["say"])) < 6] == []


def test_databases_are_small_compact_and_sound(databases):
    for path in (SAMPLE / "database").iterdir():
        assert path.stat().st_size < 60_000
    for name, connection in databases.items():
        schema = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
        assert sum(len(text.split()) for _, text in schema) <= 90, name
        assert 2 <= len(schema) <= 3, name
        for table, _ in schema:
            assert 15 <= connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] <= 60
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_maker_writes_the_same_bytes_again(tmp_path):
    maker = ROOT / "data" / "make_text_to_sql.py"
    subprocess.run([sys.executable, maker, "--out", tmp_path], check=True, capture_output=True)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path.relative_to(SAMPLE) for path in SAMPLE.rglob("*") if path.is_file()}
    assert made == kept
    for path in sorted(made):
        assert (tmp_path / path).read_bytes() == (SAMPLE / path).read_bytes(), path
