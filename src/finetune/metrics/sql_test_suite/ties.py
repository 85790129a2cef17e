"""Whether the rows of a right query depend on what SQL leaves open: the order among equals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from sqlglot import exp

from finetune.metrics.sql_execution.compare import equal_results
from finetune.metrics.sql_execution.sandbox import Database, Limits, Row
from finetune.metrics.sql_execution.text import is_ordered
from finetune.metrics.sql_execution.worker import Worker
from finetune.metrics.sql_parse import ParseError, parse

Groups = tuple[int, ...]  # where each group of rows that may change places ends


def groups(
    worker: Worker, database: Database, gold: str, rows: tuple[Row, ...], limits: Limits
) -> Groups | None:
    """The groups in which the rows of a right query, which returns `rows`, may change places.

    All rows are one group where it asks for no order, and each is its own where nothing ties.
    None where ties decide which rows there are, as in a LIMIT among equals: such a database
    cannot tell this query from others.
    """
    outcomes = [worker.run(database, query, limits) for query in _settled(gold)]
    settled = [outcome.rows for outcome in outcomes if outcome.status == "ok"]
    if not all(equal_results(rows, each, ordered=False) for each in settled):
        return None
    if not is_ordered(gold):
        return (len(rows),)
    if len(settled) < 2:
        return tuple(range(1, len(rows) + 1))
    return _ends(*settled)


def equal_in_groups(gold: Sequence[Row], predicted: Sequence[Row], ends: Groups) -> bool:
    """Whether both hold the same rows in each group, up to the order of columns."""
    return len(gold) == len(predicted) and equal_results(
        _numbered(gold, ends), _numbered(predicted, ends), ordered=False
    )


def _numbered(rows: Sequence[Row], ends: Groups) -> list[Row]:
    """The rows with the number of their group as one more column, unlike any value in them."""
    return [
        (*row, f"\0group {number}")
        for number, (start, end) in enumerate(pairwise((0, *ends)))
        for row in rows[start:end]
    ]


def _ends(one: Sequence[Row], other: Sequence[Row]) -> Groups:
    """Rows up to an end of a group are the same, whichever way its ties are settled."""
    ends = []
    gap: Counter[Row] = Counter()
    for number, (row, its) in enumerate(zip(one, other, strict=True), start=1):
        gap[row] += 1
        gap[its] -= 1
        if not any(gap.values()):
            ends.append(number)
    return tuple(ends)


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
