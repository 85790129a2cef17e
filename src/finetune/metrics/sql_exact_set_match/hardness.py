"""How hard a query is, by Spider's definition (Yu et al. 2018, taoyds/spider)."""

from __future__ import annotations

from typing import Literal

from finetune.metrics.sql_exact_set_match.clauses import Clauses

Hardness = Literal["easy", "medium", "hard", "extra"]
HARDNESSES: tuple[Hardness, ...] = ("easy", "medium", "hard", "extra")


def hardness(query: Clauses) -> Hardness:
    """The class of a query.

    Three counts decide: words of WHERE, GROUP BY, ORDER BY, LIMIT, JOIN, OR and LIKE; queries
    inside it or combined with it; and how many of these hold: several aggregates, columns,
    conditions, groups. As in the reference's code, to which published figures belong, HAVING is
    not counted, and a negated condition counts as an aggregate.
    """
    counts = query.counts
    words = bool(query.where) + bool(query.group) + bool(query.order) + bool(query.limit)
    words += counts.joins + counts.ors + counts.likes
    several = (
        counts.aggregates + counts.negations,
        counts.columns,
        counts.conditions,
        counts.groups,
    )
    others = sum(count > 1 for count in several)
    if counts.nested == 0:
        if words <= 1 and others == 0:
            return "easy"
        if (words <= 1 and others <= 2) or (words <= 2 and others < 2):
            return "medium"
        if (words <= 2 and others > 2) or (words == 3 and others <= 2):
            return "hard"
    elif counts.nested == 1 and words <= 1 and others == 0:
        return "hard"
    return "extra"
