"""SELECT statements over the tables of a random database: filters, groups, joins, nesting."""

from __future__ import annotations

from .schema import Column, Table, quoted, value
from .words import Draw

AGGREGATES = ("AVG", "SUM", "MIN", "MAX")


def _some_value(draw: Draw, table: Table, column: Column) -> str:
    if table.rows and draw.chance(0.8):
        return draw.rng.choice(table.rows)[table.columns.index(column)]
    return value(draw, column)


def condition(draw: Draw, table: Table, prefix: str = "") -> str:
    """One comparison over a column of the table."""
    column = draw.rng.choice(table.data_columns())
    text = _some_value(draw, table, column)
    left = prefix + column.name
    if draw.chance(0.06):
        return f"{left} IS {draw.one('', 'NOT ')}NULL"
    if column.type == "TEXT":
        return f"{left} {_text_test(draw, column, text)}"
    if draw.chance(0.12):
        low, high = sorted((text, value(draw, column)), key=float)
        return f"{left} BETWEEN {low} AND {high}"
    return f"{left} {draw.one('>', '>', '<', '<', '=', '>=', '<=')} {text}"


def _text_test(draw: Draw, column: Column, text: str) -> str:
    """Operator and value for a column of text."""
    if draw.chance(0.12):
        pattern = f"LIKE '{draw.one('', '%')}{text[: draw.number(1, 5)].strip()}%'"
        return pattern.replace("''", "'")
    if draw.chance(0.08):
        return f"IN ({quoted(column, text)}, {quoted(column, value(draw, column))})"
    if column.kind == "date" and draw.chance(0.6):
        return f"{draw.one('>', '<', '>=', '<=')} {quoted(column, text)}"
    return f"{draw.one('=', '=', '=', '=', '=', '!=')} {quoted(column, text)}"


def where(draw: Draw, table: Table, prefix: str = "", share: float = 0.5) -> str:
    if not draw.chance(share):
        return ""
    text = f" WHERE {condition(draw, table, prefix)}"
    if draw.chance(0.2):
        text += f" {draw.one('AND', 'AND', 'OR')} {condition(draw, table, prefix)}"
    return text


def _numeric(draw: Draw, table: Table) -> Column | None:
    found = [column for column in table.data_columns() if column.numeric]
    return draw.rng.choice(found) if found else None


def _label(draw: Draw, table: Table) -> Column:
    texts = [column for column in table.data_columns() if column.type == "TEXT"]
    return draw.rng.choice(texts or table.data_columns())


def select_plain(draw: Draw, table: Table) -> str:
    columns = [column.name for column in table.data_columns()]
    chosen = draw.rng.sample(columns, min(len(columns), draw.rng.choice((1, 1, 1, 2, 2, 3))))
    what = "*" if draw.chance(0.08) else ", ".join(chosen)
    distinct = "DISTINCT " if draw.chance(0.12) and what != "*" else ""
    return f"SELECT {distinct}{what} FROM {table.name}{where(draw, table, share=0.7)}"


def select_count(draw: Draw, table: Table) -> str:
    what = f"DISTINCT {_label(draw, table).name}" if draw.chance(0.15) else "*"
    return f"SELECT COUNT({what}) FROM {table.name}{where(draw, table, share=0.75)}"


def select_aggregate(draw: Draw, table: Table) -> str:
    column = _numeric(draw, table)
    if column is None:
        return select_count(draw, table)
    functions = draw.rng.sample(AGGREGATES, draw.rng.choice((1, 1, 1, 2)))
    what = ", ".join(f"{function}({column.name})" for function in functions)
    return f"SELECT {what} FROM {table.name}{where(draw, table, share=0.45)}"


def select_ordered(draw: Draw, table: Table) -> str:
    by = _numeric(draw, table) or _label(draw, table)
    direction = draw.one(" DESC", " DESC", "", "", " ASC")
    limit = draw.one("", " LIMIT 1", " LIMIT 1", f" LIMIT {draw.number(2, 10)}")
    return (
        f"SELECT {_label(draw, table).name} FROM {table.name}{where(draw, table, share=0.2)} "
        f"ORDER BY {by.name}{direction}{limit}"
    )


def select_grouped(draw: Draw, table: Table) -> str:
    group, number = _label(draw, table).name, _numeric(draw, table)
    what = (
        "COUNT(*)"
        if number is None or draw.chance(0.6)
        else f"{draw.one(*AGGREGATES)}({number.name})"
    )
    tail = draw.one(
        "",
        "",
        f" HAVING {what} {draw.one('>', '>=', '<')} {draw.number(1, 9)}",
        f" ORDER BY {what} DESC",
        f" ORDER BY {what}{draw.one(' DESC', '')} LIMIT 1",
    )
    columns = group if tail and draw.chance(0.4) else f"{group}, {what}"
    return (
        f"SELECT {columns} FROM {table.name}{where(draw, table, share=0.15)} GROUP BY {group}{tail}"
    )


def select_nested(draw: Draw, table: Table) -> str:
    column = _numeric(draw, table)
    if column is None:
        return select_plain(draw, table)
    if draw.chance(0.3):
        label = _label(draw, table)
        same = f"{label.name} = {quoted(label, _some_value(draw, table, label))}"
        inner = f"SELECT {column.name} FROM {table.name} WHERE {same}"
        return (
            f"SELECT {_label(draw, table).name} FROM {table.name} "
            f"WHERE {column.name} {draw.one('>', '<')} ({inner})"
        )
    inner = f"SELECT {draw.one(*AGGREGATES)}({column.name}) FROM {table.name}"
    sign = draw.one(">", "<") if "AVG" in inner else "="
    return (
        f"SELECT {_label(draw, table).name} FROM {table.name} WHERE {column.name} {sign} ({inner})"
    )


def _joined(draw: Draw, child: Table, parent: Table, link: str) -> str:
    left, right = (child, parent) if draw.chance(0.8) else (parent, child)
    on = f"{child.name}.{link} = {parent.name}.{child.keys[link]}"
    if draw.chance(0.12):
        on = " = ".join(reversed(on.split(" = ")))
    return f"FROM {left.name} JOIN {right.name} ON {on}"


def select_join(draw: Draw, child: Table, parent: Table, link: str) -> str:
    joined = _joined(draw, child, parent, link)
    one, two = (child, parent) if draw.chance(0.5) else (parent, child)
    label = f"{draw.one('', '', '', '', 'DISTINCT ')}{one.name}.{_label(draw, one).name}"
    number = _numeric(draw, two)
    shape = draw.number(1, 9)
    if shape <= 3:
        return f"SELECT {label} {joined}{where(draw, two, two.name + '.', 0.95)}"
    if shape == 4:
        other = draw.rng.choice(two.data_columns()).name
        return f"SELECT {label}, {two.name}.{other} {joined}{where(draw, two, two.name + '.', 0.3)}"
    if shape == 5:
        return f"SELECT COUNT(*) {joined}{where(draw, two, two.name + '.', 0.95)}"
    if shape == 6 and number:
        what = f"{draw.one(*AGGREGATES)}({two.name}.{number.name})"
        return f"SELECT {what} {joined}{where(draw, one, one.name + '.', 0.95)}"
    if shape == 7 and number:
        by = f"{two.name}.{number.name}"
        return f"SELECT {label} {joined} ORDER BY {by} DESC LIMIT {draw.number(1, 3)}"
    key = f"{parent.name}.{_label(draw, parent).name}"
    tail = draw.one(
        "",
        f" HAVING COUNT(*) {draw.one('>', '>=')} {draw.number(1, 5)}",
        " ORDER BY COUNT(*) DESC LIMIT 1",
    )
    what = "COUNT(*)"
    if number and two is child and draw.chance(0.3):
        what, tail = f"{draw.one(*AGGREGATES)}({child.name}.{number.name})", ""
    return f"SELECT {key}, {what} {joined} GROUP BY {key}{tail}"


def select_inside(draw: Draw, child: Table, parent: Table, link: str) -> str:
    """Membership in a second query instead of a join."""
    key = child.keys[link]
    if draw.chance(0.5):
        negative = draw.one("", "NOT ")
        inner = f"SELECT {link} FROM {child.name}{where(draw, child, share=0.5)}"
        label = _label(draw, parent).name
        return f"SELECT {label} FROM {parent.name} WHERE {key} {negative}IN ({inner})"
    inner = f"SELECT {key} FROM {parent.name}{where(draw, parent, share=0.95)}"
    return f"SELECT {_label(draw, child).name} FROM {child.name} WHERE {link} IN ({inner})"


SINGLE = (
    select_plain,
    select_plain,
    select_count,
    select_count,
    select_aggregate,
    select_aggregate,
    select_ordered,
    select_grouped,
    select_nested,
)


def query(draw: Draw, tables: list[Table]) -> str:
    """One SELECT over the tables."""
    children = [table for table in tables if table.parents]
    if children and draw.chance(0.45):
        child = draw.rng.choice(children)
        link = draw.rng.choice(sorted(child.parents))
        parent = next(table for table in tables if table.name == child.parents[link])
        if draw.chance(0.2):
            return select_inside(draw, child, parent, link)
        return select_join(draw, child, parent, link)
    return draw.rng.choice(SINGLE)(draw, draw.rng.choice(tables))
