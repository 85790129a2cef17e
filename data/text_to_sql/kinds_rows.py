"""Kinds of questions about the rows of one table: lists, filters, look-ups, orders."""

from __future__ import annotations

from collections.abc import Callable

from text_to_sql.conditions import Condition, condition, order_phrase, superlative
from text_to_sql.drafts import Draft, Draw
from text_to_sql.schema import Column, Table
from text_to_sql.words import count_word, literal, say_one, spoken

LISTED = ("label", "kind", "text", "optional", "number", "year", "date")
ORDERED = ("number", "number", "year", "date")


def list_columns(draw: Draw, count: int) -> Draft | None:
    table = draw.table()
    columns = table.with_roles(*LISTED)
    if len(columns) < count:
        return None
    chosen = draw.rng.sample(columns, count)
    names = ", ".join(column.name for column in chosen)
    return Draft(f"SELECT {names} FROM {table.name}", {**draw.nouns(table), **draw.shown(chosen)})


def list_distinct(draw: Draw) -> Draft | None:
    table = draw.table()
    column = draw.column(table, "kind")
    if column is None:
        return None
    query = f"SELECT DISTINCT {column.name} FROM {table.name}"
    return Draft(query, {**draw.nouns(table), **draw.shown([column])})


def filtered(draw: Draw, operations: tuple[str, ...], ordered: bool = False) -> Draft | None:
    table = draw.table()
    test = condition(draw.rng.choice(operations), draw.database, table, draw.rng)
    if test is None:
        return None
    column = draw.shown_column(table, without=test.column)
    if column is None:
        return None
    words = {**draw.nouns(table), **draw.shown([column]), **draw.restricted(test)}
    query = f"SELECT {column.name} FROM {table.name} WHERE {test.sql()}"
    if not ordered:
        return Draft(query, draw.naming(table, column, words))
    key = _order_column(draw, table, test.column)
    if key is None:
        return None
    direction, suffix = _direction(draw)
    words["order"] = order_phrase(direction, key, draw.rng)
    return Draft(
        f"{query} ORDER BY {key.name}{suffix}", draw.naming(table, column, words), key.name
    )


def filtered_twice(draw: Draw, joiner: str) -> Draft | None:
    """Two conditions on two columns; the kind of thing comes first, then the number."""
    table = draw.table()
    first = condition("equal", draw.database, table, draw.rng, roles=("kind",))
    second = condition(draw.rng.choice(("more", "less")), draw.database, table, draw.rng)
    if first is None or second is None:
        return None
    column = table.label or draw.shown_column(table, without=first.column)
    if column is None or column in (first.column, second.column):
        return None
    conditions = _both(first, second, joiner.lower(), draw)
    words = {**draw.nouns(table), **draw.shown([column]), "cond": conditions}
    query = f"SELECT {column.name} FROM {table.name} WHERE {first.sql()} {joiner} {second.sql()}"
    return Draft(query, draw.naming(table, column, words))


def _both(first: Condition, second: Condition, joiner: str, draw: Draw) -> str:
    """Two wordings built alike: "whose ... is cow or heavier than 9" would not be English."""
    start = draw.rng.choice((True, False))
    forms = [
        [form for form in test.phrases if form.startswith("whose ") == start] or test.phrases
        for test in (first, second)
    ]
    said = [draw.rng.choice(options) for options in forms]
    if said[0].startswith("whose ") and not said[1].startswith("whose "):
        said[0] = next((form for form in first.phrases if not form.startswith("whose ")), said[0])
    return f" {joiner} ".join(said)


def look_up(draw: Draw) -> Draft | None:
    table = draw.named_table()
    column = draw.column(table, "kind", "number", "year", "optional")
    label = table.label
    if column is None or label is None:
        return None
    name = draw.rng.choice(draw.database.rows[table.name])[label.name]
    own = draw.rng.choice(column.ask) if column.ask and draw.rng.random() < 0.6 else None
    words: dict[str, str | None] = {
        "own": own.format(v=spoken(name)) if own else None,
        "say": None if own else say_one(column, draw.rng),
        "v": spoken(name),
        **draw.nouns(table),
    }
    query = f"SELECT {column.name} FROM {table.name} WHERE {label.name} = {literal(name)}"
    return Draft(query, words)


def _direction(draw: Draw) -> tuple[str, str]:
    return draw.rng.choice((("rising", ""), ("falling", " DESC")))


def _order_column(draw: Draw, table: Table, without: Column | None = None) -> Column | None:
    columns = [column for column in table.with_roles(*ORDERED) if column != without]
    return draw.rng.choice(columns) if columns else None


def ordered_list(draw: Draw, count: int) -> Draft | None:
    table = draw.named_table()
    label = table.label
    key = label if draw.rng.random() < 0.2 else _order_column(draw, table)
    if key is None or label is None:
        return None
    others = [column for column in table.with_roles(*LISTED) if column not in (label, key)]
    if len(others) < count - 1:
        return None
    shown = [label, *draw.rng.sample([*others, *([key] if key != label else [])], count - 1)]
    direction, suffix = _direction(draw)
    words = {
        **draw.nouns(table),
        **draw.shown(shown),
        "order": order_phrase(direction, key, draw.rng),
    }
    names = ", ".join(column.name for column in shown)
    return Draft(f"SELECT {names} FROM {table.name} ORDER BY {key.name}{suffix}", words, key.name)


def top_rows(draw: Draw, several: bool, other_column: bool = False) -> Draft | None:
    """The first row or rows by a column: its name, or another column of it."""
    table = draw.table() if other_column else draw.named_table()
    key = _order_column(draw, table)
    others = [column for column in table.with_roles(*LISTED) if column not in (key, table.label)]
    shown = (draw.rng.choice(others) if others else None) if other_column else table.label
    if key is None or shown is None:
        return None
    direction, suffix = draw.rng.choice((("highest", " DESC"), ("lowest", "")))
    limit = draw.rng.randint(2, 5) if several else 1
    noun = superlative(direction, key, table.many if several else table.one, draw.rng)
    words = {**draw.shown([shown]), "noun": noun, "k": count_word(limit, draw.rng)}
    query = f"SELECT {shown.name} FROM {table.name} ORDER BY {key.name}{suffix} LIMIT {limit}"
    return Draft(query, words, key.name)


KINDS: dict[str, Callable[[Draw], Draft | None]] = {
    "list_column": lambda draw: list_columns(draw, 1),
    "list_two_columns": lambda draw: list_columns(draw, 2),
    "list_distinct": list_distinct,
    "filter_equal": lambda draw: filtered(draw, ("equal",)),
    "filter_compare": lambda draw: filtered(draw, ("more", "less")),
    "filter_limit": lambda draw: filtered(draw, ("at_least", "at_most")),
    "filter_different": lambda draw: filtered(draw, ("different",)),
    "filter_like": lambda draw: filtered(draw, ("starts", "ends", "contains")),
    "filter_missing": lambda draw: filtered(draw, ("missing", "present")),
    "filter_between": lambda draw: filtered(draw, ("between",)),
    "filter_one_of": lambda draw: filtered(draw, ("one_of",)),
    "filter_and": lambda draw: filtered_twice(draw, "AND"),
    "filter_or": lambda draw: filtered_twice(draw, "OR"),
    "filter_ordered": lambda draw: filtered(draw, ("equal", "more", "less"), ordered=True),
    "look_up": look_up,
    "ordered": lambda draw: ordered_list(draw, 1),
    "ordered_two_columns": lambda draw: ordered_list(draw, 2),
    "top_rows": lambda draw: top_rows(draw, several=True),
    "extreme_row": lambda draw: top_rows(draw, several=False),
    "extreme_column": lambda draw: top_rows(draw, several=False, other_column=True),
}
