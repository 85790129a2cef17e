"""Queries as syntax trees, by `sqlglot`, with SQLite's reading of names."""

from __future__ import annotations

from collections.abc import Collection

import sqlglot
from sqlglot import exp

from finetune.metrics.sql_execution.text import first_word

_LONGEST = 10_000  # letters: what a parser in Python reads in well under a second
_BEGINNINGS = {"select", "with", "values"}


class ParseError(ValueError):
    """A text that is no single SELECT, or too long to look at."""


def parse(query: str, columns: Collection[str] = ()) -> exp.Query:
    """The tree of one query; `columns` are the names, in lower case, that the database has.

    As in SQLite, a name in double quotes that no column has is a text.

    Raises:
        ParseError: it is not one SELECT, or longer than 10,000 letters.
    """
    if len(query) > _LONGEST:
        raise ParseError(f"longer than {_LONGEST} letters")
    if first_word(query) not in _BEGINNINGS:  # sqlglot would read it, and warn
        raise ParseError("not a query")
    try:
        tree = sqlglot.parse_one(query, read="sqlite")
        if isinstance(tree, exp.Query):
            return _with_texts(tree, columns)
    # Anything a model writes comes here, and a parser may stumble in its own way over any of it.
    except Exception as error:
        raise ParseError(f"{type(error).__name__}: {error}") from error
    raise ParseError("not a query")


def _with_texts(tree: exp.Query, columns: Collection[str]) -> exp.Query:
    known = {*columns, *(alias.alias.lower() for alias in tree.find_all(exp.Alias))}
    for column in list(tree.find_all(exp.Column)):
        name = column.this
        quoted = isinstance(name, exp.Identifier) and name.quoted
        if quoted and not column.table and name.name.lower() not in known:
            column.replace(exp.Literal.string(name.name))
    return tree
