"""Tables in CSV, Markdown or JSON with their facts in sentences, and data dictionaries."""

from __future__ import annotations

import json

from .grammar import article, listed, plural
from .schema import Column, Table, database, english, same_nouns
from .words import Draw


def _label_column(table: Table) -> Column:
    texts = [
        column
        for column in table.data_columns()
        if column.type == "TEXT" and column.name.endswith(("name", "title"))
    ]
    return (texts or table.data_columns())[0]


def render(draw: Draw, table: Table) -> str:
    """The rows of the table in one of the usual plain formats."""
    head = [column.name for column in table.columns]
    style = draw.number(1, 4)
    if style == 1:
        return "\n".join(",".join(row) for row in [head, *table.rows])
    if style == 2:
        lines = [head, ["---"] * len(head), *table.rows]
        return "\n".join("| " + " | ".join(row) + " |" for row in lines)
    if style == 3:
        return "\n".join(
            json.dumps(dict(zip(head, row, strict=True)), ensure_ascii=False) for row in table.rows
        )
    return "\n".join(
        "; ".join(f"{name}: {text}" for name, text in zip(head, row, strict=True))
        for row in table.rows
    )


def fact(draw: Draw, table: Table, row: list[str]) -> str:
    """One cell of one row as a sentence."""
    label = _label_column(table)
    who = row[table.columns.index(label)]
    column = draw.rng.choice(
        [other for other in table.data_columns() if other is not label] or [label]
    )
    text = row[table.columns.index(column)]
    said = english(draw, column)
    if " " in said and not said.startswith(
        ("number", "date", "year", "type", "first", "last", "place", "day", "full")
    ):
        said = column.name.replace("_", " ")
    return draw.one(
        f"The {said} of {who} is {text}.",
        f"{who} has the {said} {text}.",
        f"For the {table.noun} {who} the {column.name} is {text}.",
        f"{who}: {column.name} {text}.",
        f"The {table.noun} with the {said} {text} is {who}.",
        f"{text} is the {said} of {who}.",
    )


def summary_facts(draw: Draw, table: Table) -> list[str]:
    """Statements about the whole table: counts, greatest and smallest, groups, order."""
    label, many = _label_column(table), plural(table.noun)
    names = [row[table.columns.index(label)] for row in table.rows]
    out = [
        f"There are {len(names)} {many} in the table.",
        f"The {many} are {listed(names)}.",
        f"The {plural(label.name)} in alphabetical order: {', '.join(sorted(names))}.",
    ]
    for column in table.data_columns():
        cells = [row[table.columns.index(column)] for row in table.rows]
        said = column.name.replace("_", " ")
        if column.numeric:
            ranked = sorted(zip(map(float, cells), names, cells, strict=True))
            out += [
                f"The {table.noun} with the highest {said} is {ranked[-1][1]} "
                f"with {ranked[-1][2]}.",
                f"The {table.noun} with the lowest {said} is {ranked[0][1]} with {ranked[0][2]}.",
                f"Ordered by {said}: {', '.join(name for _, name, _ in ranked)}.",
                f"The maximum {said} is {ranked[-1][2]} and the minimum {said} is {ranked[0][2]}.",
            ]
            limit = draw.rng.choice(ranked)
            above = [name for number, name, _ in ranked if number > limit[0]]
            names_above = ", ".join(above) or "none"
            out.append(f"{many.capitalize()} with a {said} greater than {limit[2]}: {names_above}.")
        elif column is not label:
            pick = draw.rng.choice(cells)
            same = [name for name, cell in zip(names, cells, strict=True) if cell == pick]
            out += [
                f"{many.capitalize()} whose {said} is {pick}: {', '.join(same)}.",
                f"The different values of {said} are {listed(list(dict.fromkeys(cells)))}.",
            ]
    draw.rng.shuffle(out)
    return out


def table_facts(draw: Draw) -> str:
    """A table and what it says."""
    table = database(draw, count=1, rows=draw.number(3, 6))[0]
    facts = [fact(draw, table, draw.rng.choice(table.rows)) for _ in range(draw.number(3, 7))]
    facts += summary_facts(draw, table)[: draw.number(1, 5)]
    intro = draw.one(
        "",
        f"Table: {table.name}\n",
        f"The table {table.name}:\n",
        f"List of {plural(table.noun)}\n",
    )
    return f"{intro}{render(draw, table)}\n{draw.one(chr(10), ' ').join(facts)}"


def table_questions(draw: Draw) -> str:
    """A table, then questions about single cells with the short answers found in it."""
    table = database(draw, count=1, rows=draw.number(3, 6))[0]
    label = _label_column(table)
    position = table.columns.index(label)
    out = [render(draw, table)]
    for _ in range(draw.number(3, 6)):
        row = draw.rng.choice(table.rows)
        column = draw.rng.choice(
            [other for other in table.data_columns() if other is not label] or [label]
        )
        cell, said = (
            row[table.columns.index(column)],
            draw.one(column.name.replace("_", " "), column.english[0]),
        )
        held = [
            other[position] for other in table.rows if other[table.columns.index(column)] == cell
        ]
        many, labels = plural(table.noun), plural(label.name)
        everyone = ", ".join(other[position] for other in table.rows)
        out.append(
            draw.one(
                f"What are the {labels} of all {many}? {everyone}",
                f"How many {many} have the {said} {cell}? {len(held)}",
                f"List the {labels} of the {many} whose {said} is {cell}. {', '.join(held)}",
                f"Show the {said} of {row[position]}. {cell}",
                f"What is the {said} of {row[position]}? {cell}",
                f"Which {table.noun} has the {said} {cell}? {row[position]}",
                f"Whose {said} is {cell}? {row[position]}",
                f"How many {plural(table.noun)} are listed? {len(table.rows)}",
                f"What {said} does the {table.noun} {row[position]} have? {cell}",
            )
        )
    return "\n".join(out)


ASIDE = ("how ", "what ", "when ", "where ", "who ", "whether ")


def _meaning(draw: Draw, table: Table, column: Column) -> str:
    nouns = [
        word
        for word in column.english
        if not word.startswith(ASIDE) and not word.endswith(("er", "est"))
    ]
    said = draw.rng.choice(nouns or [column.name.replace("_", " ")])
    place = f"{table.name}.{column.name}"
    noun = draw.one(table.noun, table.noun, *same_nouns().get(table.noun, ()))
    thing, where = (
        article(noun),
        draw.one(f"the column {column.name} of {table.name}", place, place),
    )
    if column.kind == "primary key":
        return f"Each {table.noun} has its own number in {place}."
    if column.kind == "foreign key":
        parent = table.parents[column.name]
        return draw.one(
            f"{place} points to {parent}.{table.keys[column.name]}.",
            f"The {table.noun} belongs to a row of {parent}; see {place}.",
            f"{table.name} and {parent} are linked by {place}.",
        )
    asides = [word for word in column.english if word.startswith(ASIDE)]
    if asides and draw.chance(0.4):
        told = draw.rng.choice(asides).replace(" it ", f" {thing} ")
        return draw.one(
            f"{place} tells {told}.",
            f"To know {told}, look at {where}.",
            f"{told[0].upper()}{told[1:]}: {where}.",
        )
    return draw.one(
        f"{place}: {said} of {thing}.",
        f"In {where} stands the {said} of the {noun}.",
        f"The {said} of {thing} is kept in {where}.",
        f"For the {said} of {plural(noun)}, look at {where}.",
        f"The {said} of {plural(noun)} is {place}.",
        f"Where is the {said} of {thing}? {place}",
        f"Which column holds the {said} of the {noun}? {place}",
        f"{said[0].upper()}{said[1:]} of {thing} -> {place}",
        f"{place} tells the {said} of the {noun}.",
        f"Words for {place}: {', '.join(column.english)}.",
    )


def dictionary(draw: Draw) -> str:
    """A schema and, in English, what each of its columns holds."""
    tables = database(draw)
    parts = [table.create(draw.chance(0.2), draw.chance(0.5)) for table in tables]
    if draw.chance(0.3):
        parts = [
            f"{table.name}({', '.join(column.name for column in table.columns)})"
            for table in tables
        ]
    for table in tables:
        nouns = [plural(noun) for noun in (table.noun, *same_nouns().get(table.noun, ()))]
        if draw.chance(0.6):
            parts.append(
                draw.one(
                    f"The table {table.name} lists {nouns[0]}.",
                    f"{nouns[-1].capitalize()} are listed in {table.name}.",
                    f"For {draw.one(*nouns)}, see {table.name}.",
                    f"Where are the {draw.one(*nouns)}? In {table.name}.",
                )
            )
    places = [(table, column) for table in tables for column in table.columns]
    draw.rng.shuffle(places)
    parts += [_meaning(draw, table, column) for table, column in places[: draw.number(5, 12)]]
    return "\n".join(parts)


def column_lists(draw: Draw) -> str:
    """A schema, then several things wanted of one table and the columns that hold them."""
    tables = database(draw)
    out = [table.create(False, draw.chance(0.7)) for table in tables]
    for _ in range(draw.number(3, 7)):
        table = draw.rng.choice(tables)
        columns = draw.rng.sample(
            table.data_columns(), min(draw.number(1, 3), len(table.data_columns()))
        )
        said = [
            draw.rng.choice(
                [word for word in column.english if not word.startswith(ASIDE)] or [column.name]
            )
            for column in columns
        ]
        noun = draw.one(table.noun, table.noun, *same_nouns().get(table.noun, ()))
        places = ", ".join(f"{table.name}.{column.name}" for column in columns)
        out.append(
            draw.one(
                f"{listed(said).capitalize()} of the {plural(noun)}: {places}",
                f"The {listed(said)} of {article(noun)}: {places}",
                f"Columns for {listed(said)} ({noun}): {places}",
                f"{noun.capitalize()}, {', '.join(said)}: {places}",
            )
        )
    return "\n".join(out)


def which_table(draw: Draw) -> str:
    """Names bound to their holders: which table has the column, which column comes after which."""
    tables = database(draw, count=draw.number(2, 3))
    out = [table.create(False, draw.chance(0.5)) for table in tables]
    for _ in range(draw.number(5, 9)):
        table = draw.rng.choice(tables)
        column = draw.rng.choice(table.columns)
        owners = [
            other.name for other in tables if column.name in {item.name for item in other.columns}
        ]
        names = [item.name for item in table.columns]
        numeric = [item.name for item in table.columns if item.type != "TEXT"]
        out.append(
            draw.one(
                f"{column.name} is in {listed(owners)}.",
                f"Which table has {column.name}? {listed(owners)}",
                f"The columns of {table.name} are {listed(names)}.",
                f"{column.name} of {table.name} is {column.type}.",
                f"{table.name} has {len(names)} columns.",
                f"Numbers in {table.name}: {', '.join(numeric)}.",
                f"The first column of {table.name} is {names[0]} and the last is {names[-1]}.",
            )
        )
    return "\n".join(out)


KINDS = {
    "table_facts": table_facts,
    "table_questions": table_questions,
    "data_dictionary": dictionary,
    "schema_binding": which_table,
    "column_lists": column_lists,
}
