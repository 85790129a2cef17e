"""Results of queries in a form to show: a few rows, cells as short text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finetune.metrics.sql_execution.sandbox import Database, Limits, Outcome
from finetune.metrics.sql_execution.worker import Worker

_ROWS = 10
_LETTERS = 80
_DEFAULT = Limits()


def show_rows(
    queries: Sequence[Mapping[str, str]], databases: Sequence[Database], limits: Limits = _DEFAULT
) -> list[dict[str, dict[str, Any]]]:
    """For each row, what each of its named queries returns.

    A result is `{"sql", "error", "columns", "rows", "row_count"}`: `error` is empty where the
    query ran, `rows` are the first 10, each cell as a text of at most 80 letters and NULL as
    None, `row_count` is the number of all.
    """
    with Worker() as worker:
        return [
            {name: _shown(sql, worker.run(database, sql, limits)) for name, sql in row.items()}
            for row, database in zip(queries, databases, strict=True)
        ]


def _shown(sql: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "sql": sql,
        "error": outcome.message if outcome.status != "ok" else "",
        "columns": [_text(name) for name in outcome.columns],
        "rows": [[_text(cell) for cell in row] for row in outcome.rows[:_ROWS]],
        "row_count": len(outcome.rows),
    }


def _text(cell: Any) -> str | None:
    """A cell as text that any encoder takes: bytes in hex, what is no UTF-8 replaced."""
    if cell is None:
        return None
    if isinstance(cell, bytes):
        text = f"x'{cell[:_LETTERS].hex()}'"
    else:
        text = str(cell).encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"
