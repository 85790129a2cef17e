"""Whether the rows of a right query depend on what SQL leaves open: the order among equals."""

from __future__ import annotations

from typing import Literal

from sqlglot import exp

from finetune.metrics.sql_execution.compare import equal_results
from finetune.metrics.sql_execution.sandbox import Database, Limits, Row
from finetune.metrics.sql_execution.text import is_ordered
from finetune.metrics.sql_execution.worker import Worker
from finetune.metrics.sql_parse import ParseError, parse

Judging = Literal["ordered", "bag", ""]


def judging(
    worker: Worker, database: Database, gold: str, rows: tuple[Row, ...], limits: Limits
) -> Judging:
    """How a database can tell this query, which returns `rows`, from others.

    In its rows' order, as a bag where ties leave the order open, or not at all ("") where ties
    decide which rows there are, as in a LIMIT among equals.
    """
    ordered = is_ordered(gold)
    results = [
        outcome.rows
        for query in _settled(gold)
        if (outcome := worker.run(database, query, limits)).status == "ok"
    ]
    if ordered and all(equal_results(rows, each, ordered=True) for each in results):
        return "ordered"
    if all(equal_results(rows, each, ordered=False) for each in results):
        return "bag"
    return ""


def _settled(query: str) -> list[str]:
    """The query with every tie settled by its columns upwards, and downwards."""
    try:
        return [
            _by_columns(parse(query), desc).sql("sqlite")
            for desc in (False, True)
            if "order" in query.lower() or "limit" in query.lower()
        ]
    except ParseError:
        return []


def _by_columns(tree: exp.Query, desc: bool) -> exp.Query:
    for node in list(tree.find_all(exp.Select, exp.SetOperation)):
        if node.args.get("order") or node.args.get("limit"):
            columns = [exp.Literal.number(n + 1) for n in range(len(node.selects))]
            terms = [exp.Ordered(this=column, desc=desc) for column in columns]
            before = node.args["order"].expressions if node.args.get("order") else []
            node.set("order", exp.Order(expressions=[*before, *terms]))
    return tree
