"""Metrics that load with no network: plain functions, and `evaluate` modules over them.

    evaluate.load(module_path("rouge"))
    evaluate.combine([module_path("rouge"), module_path("extractiveness")])

Shares and ROUGE are in percent, 0 to 100, throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

MODULES = (
    *("rouge", "extractiveness", "exact_match", "lengths"),
    *("sql_execution", "sql_exact_set_match", "sql_test_suite"),
)


def module_path(name: str) -> str:
    """The folder of one of `MODULES`, as `evaluate.load` takes it."""
    if name not in MODULES:
        raise ValueError(f"no metric {name!r}; there are {', '.join(MODULES)}")
    return str(Path(__file__).parent / name)


def mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each score over the rows; of no rows, nothing."""
    if not rows:
        return {}
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
