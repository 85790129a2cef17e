"""Kinds of questions over two linked tables; the child table always comes first in the join."""

from __future__ import annotations

from collections.abc import Callable

from text_to_sql.conditions import condition, superlative
from text_to_sql.drafts import Draft, Draw
from text_to_sql.kinds_groups import FUNCTIONS
from text_to_sql.schema import Column, Link, Table
from text_to_sql.words import count_word, literal, say_one, singular_verb, spoken

Words = dict[str, str | None]
FILTERS = ("equal", "equal", "more", "less")


def _full(table: Table, column: Column | None) -> str:
    if column is None:
        raise ValueError(f"table {table.name} has no such column")
    return f"{table.name}.{column.name}"


def _label(table: Table) -> Column:
    if table.label is None:
        raise ValueError(f"table {table.name} has no label column")
    return table.label


def _nouns(draw: Draw, link: Link) -> Words:
    did = draw.rng.choice(link.column.did) if link.column.did else None
    return {
        **draw.nouns(link.child),
        "parent": draw.rng.choice(link.parent.one),
        "parents": draw.rng.choice(link.parent.many),
        "parent_shown": _shown_many(draw, link.parent),
        "parent_shown_one": say_one(_label(link.parent), draw.rng),
        "did": did,
        "does": singular_verb(did) if did else None,
        "who": "who" if link.parent.person else "that",
        "their": "their" if link.child.person else "its",
    }


def _shown_many(draw: Draw, table: Table) -> str | None:
    return draw.shown([_label(table)])["shown"]


def _named(draw: Draw, link: Link) -> tuple[str, Words]:
    """A test for one parent by its name, and the words for "books by Ann Reed"."""
    label = _label(link.parent)
    value = draw.rng.choice(draw.database.rows[link.parent.name])[label.name]
    by = draw.rng.choice(link.column.by).format(v=spoken(value))
    return f"{_full(link.parent, label)} = {literal(value)}", {"of": by}


def _described(
    draw: Draw, link: Link, operations: tuple[str, ...] = FILTERS
) -> tuple[str, Words] | None:
    """A test for parents by a column, and the words for "books by authors from Spain"."""
    test = condition(draw.rng.choice(operations), draw.database, link.parent, draw.rng)
    if test is None:
        return None
    parents = f"{draw.rng.choice(link.parent.many)} {test.say(draw.rng)}"
    by = draw.rng.choice(link.column.by_many or link.column.by).format(v=parents)
    return test.sql(f"{link.parent.name}."), {"of": by}


def child_rows(draw: Draw, named: bool) -> Draft | None:
    """A column of the children of some parent."""
    link = draw.link()
    found = (_named if named else _described)(draw, link) if link else None
    if link is None or found is None:
        return None
    shown = link.child.label or draw.shown_column(link.child)
    if shown is None:
        return None
    test, words = found
    query = f"SELECT {_full(link.child, shown)} {link.join} WHERE {test}"
    words = {**_nouns(draw, link), **words, **draw.shown([shown])}
    return Draft(query, draw.naming(link.child, shown, words))


def child_count(draw: Draw, named: bool) -> Draft | None:
    link = draw.link()
    found = (_named if named else _described)(draw, link) if link else None
    if link is None or found is None:
        return None
    test, words = found
    return Draft(f"SELECT COUNT(*) {link.join} WHERE {test}", {**_nouns(draw, link), **words})


def child_aggregate(draw: Draw) -> Draft | None:
    link = draw.link()
    number = draw.column(link.child, "number") if link else None
    if link is None or number is None:
        return None
    found = _named(draw, link) if draw.rng.random() < 0.5 else _described(draw, link)
    function = draw.rng.choice(("AVG", "SUM", "MAX") if number.total else ("AVG", "MAX", "MIN"))
    if found is None:
        return None
    test, words = found
    agg = f"{draw.rng.choice(FUNCTIONS[function])} {say_one(number, draw.rng)}"
    query = f"SELECT {function}({_full(link.child, number)}) {link.join} WHERE {test}"
    return Draft(query, {**_nouns(draw, link), **words, "agg": agg})


def child_two_tests(draw: Draw) -> Draft | None:
    """Children with a condition of their own, of parents with another."""
    link = draw.link(named_child=True)
    found = _described(draw, link, ("equal",)) if link else None
    if link is None or found is None:
        return None
    own = condition(draw.rng.choice(("more", "less", "equal")), draw.database, link.child, draw.rng)
    if own is None:
        return None
    test, words = found
    shown = _label(link.child)
    query = (
        f"SELECT {_full(link.child, shown)} {link.join} "
        f"WHERE {own.sql(link.child.name + '.')} AND {test}"
    )
    own_words = {**draw.restricted(own), **draw.shown([shown])}
    return Draft(query, {**_nouns(draw, link), **words, **own_words})


def pairs(draw: Draw) -> Draft | None:
    """A column of each child next to the name of its parent."""
    link = draw.link()
    shown = draw.shown_column(link.child) if link else None
    if link is None or shown is None:
        return None
    query = (
        f"SELECT {_full(link.child, shown)}, {_full(link.parent, _label(link.parent))} {link.join}"
    )
    return Draft(query, {**_nouns(draw, link), **draw.shown([shown])})


def parent_of(draw: Draw) -> Draft | None:
    """The name, or another column, of the parent of a named child."""
    link = draw.link(named_child=True)
    if link is None:
        return None
    label = _label(link.child)
    value = draw.rng.choice(draw.database.rows[link.child.name])[label.name]
    column = _label(link.parent)
    if draw.rng.random() < 0.4:
        column = draw.column(link.parent, "kind", "number", "year") or column
    asks = link.column.parent_ask if column == link.parent.label else []
    own = (
        draw.rng.choice(asks).format(v=spoken(value)) if asks and draw.rng.random() < 0.6 else None
    )
    words: Words = {
        "own": own,
        "say": None if own else say_one(column, draw.rng),
        "v": spoken(value),
    }
    test = f"{_full(link.child, label)} = {literal(value)}"
    query = f"SELECT {_full(link.parent, column)} {link.join} WHERE {test}"
    return Draft(query, {**_nouns(draw, link), **words})


def parent_of_extreme(draw: Draw) -> Draft | None:
    link = draw.link()
    key = draw.column(link.child, "number", "year", "date") if link else None
    if link is None or key is None:
        return None
    direction, suffix = draw.rng.choice((("highest", " DESC"), ("lowest", "")))
    noun = superlative(direction, key, link.child.one, draw.rng)
    asks = [_asked_of_noun(ask, link.child) for ask in link.column.parent_ask]
    own = draw.rng.choice(asks).format(v=f"the {noun}") if asks else None
    order = _full(link.child, key)
    parent = _full(link.parent, _label(link.parent))
    query = f"SELECT {parent} {link.join} ORDER BY {order}{suffix} LIMIT 1"
    return Draft(query, {**_nouns(draw, link), "noun": noun, "own": own}, order)


def _asked_of_noun(ask: str, child: Table) -> str:
    """ "Who leads {v}?" for "Who leads class {v}?", where a noun and no name will stand for {v}."""
    for noun in child.one:
        ask = ask.replace(f"{noun} {{v}}", "{v}")
    return ask


def parents_with(draw: Draw) -> Draft | None:
    """Parents with at least one child of some sort: each of them once."""
    link = draw.link()
    test = (
        condition(draw.rng.choice(FILTERS), draw.database, link.child, draw.rng) if link else None
    )
    if link is None or test is None:
        return None
    parent = _full(link.parent, _label(link.parent))
    query = f"SELECT DISTINCT {parent} {link.join} WHERE {test.sql(link.child.name + '.')}"
    return Draft(query, {**_nouns(draw, link), "cond": test.say(draw.rng)})


def parents_without(draw: Draw, counted: bool) -> Draft | None:
    link = draw.link()
    if link is None:
        return None
    shown = "COUNT(*)" if counted else _label(link.parent).name
    query = (
        f"SELECT {shown} FROM {link.parent.name} WHERE {link.parent.key.name} "
        f"NOT IN (SELECT {link.column.name} FROM {link.child.name})"
    )
    return Draft(query, _nouns(draw, link))


def per_parent(draw: Draw, averaged: bool) -> Draft | None:
    """A count, or an average, for each parent that has children."""
    link = draw.link()
    number = draw.column(link.child, "number") if link else None
    if link is None or (averaged and number is None):
        return None
    parent = _full(link.parent, _label(link.parent))
    words = _nouns(draw, link)
    value = "COUNT(*)"
    if averaged and number is not None:
        value = f"AVG({_full(link.child, number)})"
        words["agg"] = f"{draw.rng.choice(FUNCTIONS['AVG'])} {say_one(number, draw.rng)}"
    return Draft(f"SELECT {parent}, {value} {link.join} GROUP BY {parent}", words)


def parent_with_most(draw: Draw) -> Draft | None:
    link = draw.link()
    if link is None:
        return None
    limit = draw.rng.choice((1, 1, 2, 3, 4))
    parent = _full(link.parent, _label(link.parent))
    words = _nouns(draw, link)
    words["single" if limit == 1 else "k"] = "" if limit == 1 else count_word(limit, draw.rng)
    query = f"SELECT {parent} {link.join} GROUP BY {parent} ORDER BY COUNT(*) DESC LIMIT {limit}"
    return Draft(query, words, "COUNT(*)")


def parents_having(draw: Draw) -> Draft | None:
    link = draw.link()
    if link is None:
        return None
    limit = draw.rng.randint(1, 6)
    word, sign = draw.rng.choice((("more than", ">"), ("at least", ">="), ("exactly", "=")))
    parent = _full(link.parent, _label(link.parent))
    words = _nouns(draw, link)
    words["limit"] = f"{word} {limit}"
    if limit == 1:
        words["many"] = words["one"]
    query = f"SELECT {parent} {link.join} GROUP BY {parent} HAVING COUNT(*) {sign} {limit}"
    return Draft(query, words)


KINDS: dict[str, Callable[[Draw], Draft | None]] = {
    "join_named_parent": lambda draw: child_rows(draw, named=True),
    "join_described_parent": lambda draw: child_rows(draw, named=False),
    "join_count_named": lambda draw: child_count(draw, named=True),
    "join_count_described": lambda draw: child_count(draw, named=False),
    "join_aggregate": child_aggregate,
    "join_two_conditions": child_two_tests,
    "join_pairs": pairs,
    "join_parent_of": parent_of,
    "join_parent_of_extreme": parent_of_extreme,
    "join_parents_with": parents_with,
    "nested_parents_without": lambda draw: parents_without(draw, counted=False),
    "nested_count_without": lambda draw: parents_without(draw, counted=True),
    "join_per_parent_count": lambda draw: per_parent(draw, averaged=False),
    "join_per_parent_average": lambda draw: per_parent(draw, averaged=True),
    "join_parent_with_most": parent_with_most,
    "join_parents_having": parents_having,
}
