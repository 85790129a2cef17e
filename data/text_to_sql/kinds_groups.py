"""Kinds of questions that count, sum up or compare the rows of one table."""

from __future__ import annotations

from collections.abc import Callable

from text_to_sql.conditions import condition
from text_to_sql.drafts import Draft, Draw
from text_to_sql.schema import Column, Table
from text_to_sql.words import literal, predicate, say_many, say_one, spoken

FUNCTIONS = {
    "AVG": ["average", "mean"],
    "SUM": ["total", "combined"],
    "MIN": ["lowest", "smallest", "minimum"],
    "MAX": ["highest", "largest", "maximum"],
}
NARROWED = ("equal", "equal", "more", "less")


def _function(draw: Draw, table: Table) -> tuple[str, Column] | None:
    """An aggregate that means something for its column: years are not added up."""
    function = draw.rng.choice(("AVG", "AVG", "SUM", "MIN", "MAX"))
    columns = [column for column in table.with_roles("number") if column.total or function != "SUM"]
    return (function, draw.rng.choice(columns)) if columns else None


def _spoken_function(draw: Draw, function: str, column: Column) -> dict[str, str | None]:
    word = draw.rng.choice(FUNCTIONS[function])
    return {"agg": f"{word} {say_one(column, draw.rng)}"}


def count_rows(draw: Draw, operations: tuple[str, ...]) -> Draft | None:
    table = draw.table()
    query = f"SELECT COUNT(*) FROM {table.name}"
    if not operations:
        return Draft(query, draw.nouns(table))
    test = condition(draw.rng.choice(operations), draw.database, table, draw.rng)
    if test is None:
        return None
    return Draft(f"{query} WHERE {test.sql()}", {**draw.nouns(table), **draw.restricted(test)})


def count_distinct(draw: Draw) -> Draft | None:
    table = draw.table()
    column = draw.column(table, "kind", "kind", "number", "year", "text")
    if column is None:
        return None
    query = f"SELECT COUNT(DISTINCT {column.name}) FROM {table.name}"
    return Draft(query, {**draw.nouns(table), "shown": say_many(column, draw.rng)})


def aggregate(draw: Draw, narrowed: bool) -> Draft | None:
    table = draw.table()
    chosen = _function(draw, table)
    if chosen is None:
        return None
    function, column = chosen
    words = {**draw.nouns(table), **_spoken_function(draw, function, column)}
    query = f"SELECT {function}({column.name}) FROM {table.name}"
    if not narrowed:
        return Draft(query, words)
    test = condition(draw.rng.choice(NARROWED), draw.database, table, draw.rng)
    if test is None or test.column == column:
        return None
    return Draft(f"{query} WHERE {test.sql()}", {**words, **draw.restricted(test)})


def both_ends(draw: Draw) -> Draft | None:
    table = draw.table()
    column = draw.column(table, "number", "year", "date")
    if column is None:
        return None
    query = f"SELECT MIN({column.name}), MAX({column.name}) FROM {table.name}"
    ends = ("lowest", "highest") if column.role == "number" else ("earliest", "latest")
    words = {"say": say_one(column, draw.rng), "low": ends[0], "high": ends[1]}
    return Draft(query, {**draw.nouns(table), **words})


def _group(draw: Draw) -> tuple[Table, Column] | None:
    table = draw.table()
    column = draw.column(table, "kind")
    return (table, column) if column else None


def _group_words(draw: Draw, table: Table, column: Column) -> dict[str, str | None]:
    return {
        **draw.nouns(table),
        "group": say_one(column, draw.rng),
        "groups": say_many(column, draw.rng),
    }


def group_count(draw: Draw, narrowed: bool = False) -> Draft | None:
    chosen = _group(draw)
    if chosen is None:
        return None
    table, column = chosen
    words = _group_words(draw, table, column)
    query = f"SELECT {column.name}, COUNT(*) FROM {table.name}"
    if narrowed:
        test = condition(draw.rng.choice(("more", "less")), draw.database, table, draw.rng)
        if test is None:
            return None
        query += f" WHERE {test.sql()}"
        words.update(draw.restricted(test))
    return Draft(f"{query} GROUP BY {column.name}", words)


def group_aggregate(draw: Draw) -> Draft | None:
    chosen = _group(draw)
    summed = _function(draw, chosen[0]) if chosen else None
    if chosen is None or summed is None:
        return None
    table, column = chosen
    function, number = summed
    words = {**_group_words(draw, table, column), **_spoken_function(draw, function, number)}
    query = (
        f"SELECT {column.name}, {function}({number.name}) FROM {table.name} GROUP BY {column.name}"
    )
    return Draft(query, words)


def most_common(draw: Draw) -> Draft | None:
    chosen = _group(draw)
    if chosen is None:
        return None
    table, column = chosen
    word, suffix = draw.rng.choice((("most", " DESC"), ("least", "")))
    words = {
        **_group_words(draw, table, column),
        "degree": word,
        "few": {"least": "fewest"}.get(word, word),
    }
    query = (
        f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} "
        f"ORDER BY COUNT(*){suffix} LIMIT 1"
    )
    return Draft(query, words, "COUNT(*)")


def having_count(draw: Draw) -> Draft | None:
    chosen = _group(draw)
    if chosen is None:
        return None
    table, column = chosen
    limit = draw.rng.randint(2, 15)
    word, sign = draw.rng.choice((("more than", ">"), ("fewer than", "<"), ("at least", ">=")))
    words = {**_group_words(draw, table, column), "limit": f"{word} {limit}"}
    query = (
        f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} "
        f"HAVING COUNT(*) {sign} {limit}"
    )
    return Draft(query, words)


def having_average(draw: Draw) -> Draft | None:
    chosen = _group(draw)
    if chosen is None:
        return None
    table, column = chosen
    number = draw.column(table, "number")
    if number is None:
        return None
    word, sign = draw.rng.choice((("above", ">"), ("below", "<")))
    value = draw.rng.choice(draw.database.rows[table.name])[number.name]
    words = {**_group_words(draw, table, column), "say": say_one(number, draw.rng)}
    words["limit"] = f"{word} {spoken(value)}"
    query = (
        f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} "
        f"HAVING AVG({number.name}) {sign} {literal(value)}"
    )
    return Draft(query, words)


def group_extreme(draw: Draw) -> Draft | None:
    chosen = _group(draw)
    number = draw.column(chosen[0], "number") if chosen else None
    if chosen is None or number is None:
        return None
    table, column = chosen
    word, suffix = draw.rng.choice((("highest", " DESC"), ("lowest", "")))
    words = {**_group_words(draw, table, column), "degree": word, "say": say_one(number, draw.rng)}
    query = (
        f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} "
        f"ORDER BY AVG({number.name}){suffix} LIMIT 1"
    )
    return Draft(query, words, f"AVG({number.name})")


def beside_average(draw: Draw, counted: bool) -> Draft | None:
    """Rows above or below the average of their table."""
    table = draw.table()
    column = draw.column(table, "number")
    if column is None:
        return None
    word, sign = draw.rng.choice((("above", ">"), ("below", "<")))
    inner = f"(SELECT AVG({column.name}) FROM {table.name})"
    words = {**draw.nouns(table), "say": say_one(column, draw.rng), "side": word}
    words["than"] = "greater" if word == "above" else "lower"
    tail = f"FROM {table.name} WHERE {column.name} {sign} {inner}"
    if counted:
        return Draft(f"SELECT COUNT(*) {tail}", words)
    shown = draw.shown_column(table, without=column)
    if shown is None:
        return None
    words.update(draw.shown([shown]))
    return Draft(f"SELECT {shown.name} {tail}", draw.naming(table, shown, words))


def beside_row(draw: Draw) -> Draft | None:
    """Rows with more, or less, of something than a named row."""
    table = draw.named_table()
    label = table.label
    operation = draw.rng.choice(("more", "less"))
    column = draw.column(table, "number")
    if column is None or label is None:
        return None
    name = draw.rng.choice(draw.database.rows[table.name])[label.name]
    sign = ">" if operation == "more" else "<"
    compared = _compared(draw, column, operation).format(v=spoken(name))
    words = {**draw.nouns(table), **draw.shown([label]), "named": "", "compared": compared}
    words["compared_pred"] = predicate(compared)
    query = (
        f"SELECT {label.name} FROM {table.name} WHERE {column.name} {sign} "
        f"(SELECT {column.name} FROM {table.name} WHERE {label.name} = {literal(name)})"
    )
    return Draft(query, words)


def _compared(draw: Draw, column: Column, operation: str) -> str:
    """ "older than {v}" where the column can say so, or "with a greater age than {v}"."""
    forms: list[str] = column.more if operation == "more" else column.less
    own = [form for form in forms if form.endswith("than {v}")]
    noun = say_one(column, draw.rng)
    word = "greater" if operation == "more" else "lower"
    shared = [f"with a {word} {noun} than {{v}}", f"whose {noun} is {word} than that of {{v}}"]
    return draw.rng.choice([*own, *own, *shared])


KINDS: dict[str, Callable[[Draw], Draft | None]] = {
    "count_all": lambda draw: count_rows(draw, ()),
    "count_equal": lambda draw: count_rows(draw, ("equal",)),
    "count_compare": lambda draw: count_rows(
        draw, ("more", "less", "at_least", "at_most", "between")
    ),
    "count_missing": lambda draw: count_rows(draw, ("missing", "present", "different")),
    "count_distinct": count_distinct,
    "aggregate": lambda draw: aggregate(draw, narrowed=False),
    "aggregate_filtered": lambda draw: aggregate(draw, narrowed=True),
    "both_ends": both_ends,
    "group_count": group_count,
    "group_count_filtered": lambda draw: group_count(draw, narrowed=True),
    "group_aggregate": group_aggregate,
    "group_most_common": most_common,
    "group_having_count": having_count,
    "group_having_average": having_average,
    "group_extreme": group_extreme,
    "above_average": lambda draw: beside_average(draw, counted=False),
    "count_above_average": lambda draw: beside_average(draw, counted=True),
    "above_row": beside_row,
}
