"""Questions to SQLite queries, in the layouts of Spider and of sql-create-context.

Columns: `question`, `query` (or `answer`, its name in sql-create-context), and one of
- `db_id`: the file `database/<db_id>.sqlite` or `database/<db_id>/<db_id>.sqlite` beside the
  rows, as in Spider (Yu et al. 2018);
- `context`: `CREATE TABLE` text. Queries then run on a filled copy of that form.
With both, `context` words the prompt and the database file is what queries run on.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.data.locate import locate
from finetune.errors import DataError
from finetune.metrics import mean
from finetune.metrics.sql_execution.details import show_rows
from finetune.metrics.sql_execution.sandbox import Database, Schema
from finetune.metrics.sql_execution.text import extract
from finetune.recipe.types import Data, SqlSuite
from finetune.tasks.base import Metric, Row
from finetune.tasks.schema import compact, schema_text

_GOLD = ""  # beside the names of models, which are never empty


@dataclass(frozen=True)
class TextToSql:
    """A schema and a question to one query, judged by what it returns and what it says.

    `suite` says how many filled copies a query must be right on, and whether DISTINCT counts.
    """

    suite: SqlSuite = field(default_factory=SqlSuite)
    name: str = "text_to_sql"
    version: int = 2
    needs: tuple[str, ...] = ("question", "query")
    prompt_needs: tuple[str, ...] = ("question",)
    max_new_tokens: int = 200
    metrics: tuple[Metric, ...] = (
        Metric("execution_accuracy"),
        Metric("test_suite_accuracy"),
        Metric("exact_set_match"),
        Metric("exact_match", in_table=False),
        Metric("valid_sql"),
        Metric("both_empty", "neither"),
        Metric("gold_empty", "neither", in_table=False),
        Metric("over_limit", "lower", in_table=False),
        Metric("timeouts", "lower", in_table=False),
    )

    def prepare(self, rows: Sequence[Row], data: Data) -> list[Row]:
        """Rows with `query`, and `database`, the absolute path of their file, for a `db_id`.

        Raises:
            DataError: a row's database is missing, or it has neither `db_id` nor `context`.
        """
        source = locate(data)
        files = {file.stem: str(file) for file in source.beside}
        return [
            _with_database(number, _with_query(row), files, str(source))
            for number, row in enumerate(rows, 1)
        ]

    def check(self, rows: Sequence[Row]) -> None:
        """Every right query runs, and the copies it is tested on are filled.

        Raises:
            DataError: naming the first row whose query fails.
        """
        from finetune.tasks import sql_scores  # a parser of SQL: not what a plan should load

        sql_scores.check_rows(*self._golds(rows), self.suite)

    def prompt(self, row: Row) -> str:
        """The schema and the question."""
        return f"Write one SQLite query.\n\n{_schema(row)}\n\n{row['question'].strip()}"

    def answer(self, row: Row) -> str:
        """The right query on one line, without a semicolon."""
        return extract(row["query"])

    def references(self, row: Row) -> list[str]:
        """The right query."""
        return [self.answer(row)]

    def score_rows(self, predictions: Sequence[str], rows: Sequence[Row]) -> list[dict[str, float]]:
        """Each prediction's first statement against the right query, both executed."""
        from finetune.tasks import sql_scores

        queries = [extract(prediction) for prediction in predictions]
        found = sql_scores.score_rows(queries, *self._golds(rows), self.suite)
        return [{metric.name: each[metric.name] for metric in self.metrics} for each in found]

    def score(self, predictions: Sequence[str], rows: Sequence[Row]) -> dict[str, float]:
        """The means of `score_rows`."""
        return mean(self.score_rows(predictions, rows))

    def details(
        self, predictions: Mapping[str, Sequence[str]], rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """What the right query and each model's returns, for a person to look at.

        For each row `{"gold": result, "models": {name: {**result, "verdict": …}}}`; a result is
        that of `show_rows`, a verdict "right", "wrong", "fails", or "right by chance" where the
        rows are right here and wrong on a filled copy.
        """
        from finetune.tasks import sql_scores

        scores = {name: self.score_rows(answers, rows) for name, answers in predictions.items()}
        queries = [
            {
                _GOLD: self.answer(row),
                **{name: extract(answers[number]) for name, answers in predictions.items()},
            }
            for number, row in enumerate(rows)
        ]
        shown = show_rows(queries, sql_scores.prepared(*self._golds(rows), self.suite).databases)
        return [
            {
                "gold": results[_GOLD],
                "models": {
                    name: {**results[name], "verdict": _verdict(scores[name][number])}
                    for name in predictions
                },
            }
            for number, results in enumerate(shown)
        ]

    def groups(self, rows: Sequence[Row]) -> dict[str, list[str]]:
        """Labels by which scores are also told apart: Spider's hardness of the right query."""
        from finetune.tasks import sql_scores

        return {"hardness": sql_scores.hardnesses(*self._golds(rows))}

    def baselines(self, train: Sequence[Row], rows: Sequence[Row]) -> dict[str, list[str]]:
        """The query asked most often in training, on the row's database where that is known."""
        overall = Counter(self.answer(row) for row in train)
        of_database: dict[str, Counter[str]] = defaultdict(Counter)
        for row in train:
            if row.get("db_id"):
                of_database[row["db_id"]][self.answer(row)] += 1
        found = [of_database.get(row.get("db_id") or "") or overall for row in rows]
        return {"most_frequent_query": [_most_frequent(queries) for queries in found]}

    def _golds(self, rows: Sequence[Row]) -> tuple[list[str], list[Database]]:
        return [self.answer(row) for row in rows], [_database(row) for row in rows]


def _most_frequent(queries: Mapping[str, int]) -> str:
    """The query with the highest count, the first in the alphabet among several; "" of none."""
    return min(queries, key=lambda query: (-queries[query], query), default="")


def _verdict(scores: Mapping[str, float]) -> str:
    if not scores["valid_sql"]:
        return "fails"
    if not scores["execution_accuracy"]:
        return "wrong"
    return "right" if scores["test_suite_accuracy"] else "right by chance"


def _with_query(row: Row) -> Row:
    if row.get("query") is None and row.get("answer") is not None:
        return {**row, "query": row["answer"]}
    return row


def _with_database(number: int, row: Row, files: Mapping[str, str], source: str) -> Row:
    name, context = row.get("db_id"), row.get("context")
    where = f"{source} row {number}"
    if name and name in files:
        return {**row, "database": files[name]}
    if context and not (name and files):
        return row
    if name:
        raise DataError(
            f"the database {name!r} is missing: no database/{name}.sqlite beside the rows",
            where=where,
            remedy="Put the file there, or give the schema in a column 'context'.",
        )
    raise DataError(
        "neither 'db_id' nor 'context' says which tables the question is about",
        where=where,
        remedy="Name the column with data.columns: {db_id: NAME} or {context: NAME}.",
    )


def _schema(row: Row) -> str:
    if row.get("context"):
        return compact(row["context"])
    try:
        return schema_text(Path(row["database"]))
    except sqlite3.Error as error:
        raise DataError(
            f"no schema can be read: {error}",
            where=row["database"],
            remedy="Check that this is a SQLite database.",
        ) from error


def _database(row: Row) -> Database:
    return Path(row["database"]) if row.get("database") else Schema(row["context"])
