"""SQL scripts as plain text: a schema, some rows, and statements over exactly those tables."""

from __future__ import annotations

from .schema import Table, database, quoted, value
from .sql import query
from .words import Draw


def insert(table: Table, row: list[str]) -> str:
    values = ", ".join(
        quoted(column, text) for column, text in zip(table.columns, row, strict=True)
    )
    return f"INSERT INTO {table.name} VALUES ({values});"


def schema_text(draw: Draw, tables: list[Table]) -> str:
    multi_line, references = draw.chance(0.15), draw.chance(0.7)
    return "\n".join(table.create(multi_line, references) for table in tables)


def script(draw: Draw) -> str:
    """Schema, a few inserts and a run of queries."""
    with_rows = draw.chance(0.35)
    tables = database(draw, rows=draw.number(2, 4) if with_rows else 0)
    parts = [schema_text(draw, tables)]
    if with_rows:
        parts += [insert(table, row) for table in tables for row in table.rows]
    parts += [query(draw, tables) + ";" for _ in range(draw.number(5, 11))]
    return "\n".join(parts)


def short_script(draw: Draw) -> str:
    """Schema and one or two queries only: each schema is new, so its columns must be copied."""
    tables = database(draw)
    return "\n".join(
        [schema_text(draw, tables), *(query(draw, tables) + ";" for _ in range(draw.number(1, 3)))]
    )


def updates(draw: Draw) -> str:
    """Statements that change rows which the script has just inserted."""
    table = database(draw, count=1, rows=draw.number(3, 6))[0]
    out = [table.create(draw.chance(0.3), False), *(insert(table, row) for row in table.rows)]
    for _ in range(draw.number(3, 6)):
        row = draw.rng.choice(table.rows)
        position = draw.number(1, len(table.columns) - 1)
        column = table.columns[position]
        new = value(draw, column) if not column.kind.endswith("key") else str(draw.number(1, 9))
        key = f"{table.key} = {row[0]}"
        out.append(
            draw.one(
                f"UPDATE {table.name} SET {column.name} = {quoted(column, new)} WHERE {key};",
                f"DELETE FROM {table.name} WHERE {column.name} = {quoted(column, row[position])};",
                f"SELECT {column.name} FROM {table.name} WHERE {key};",
            )
        )
    return "\n".join(out)


def rewrites(draw: Draw) -> str:
    """The same query written in two ways, one line under the other."""
    tables = database(draw, count=2)
    out = [schema_text(draw, tables)]
    for _ in range(draw.number(3, 5)):
        text = query(draw, tables)
        shape = draw.number(1, 3)
        if shape == 1 and " JOIN " in text:
            for short, table in zip(("T1", "T2"), tables, strict=True):
                text = text.replace(f"FROM {table.name}", f"FROM {table.name} AS {short}")
                text = text.replace(f"JOIN {table.name}", f"JOIN {table.name} AS {short}").replace(
                    f"{table.name}.", f"{short}."
                )
            out.append(f"{text};")
        elif shape == 2:
            out += [f"CREATE VIEW v{draw.number(1, 99)} AS {text};", f"{text};"]
        else:
            out += [f"{text};", f"EXPLAIN {text};"]
    return "\n".join(out)


def anatomy(draw: Draw) -> str:
    """Queries, each followed by the list of the names that occur in it."""
    tables = database(draw)
    out = [schema_text(draw, tables)]
    for _ in range(draw.number(3, 5)):
        text = query(draw, tables)
        names = [column.name for table in tables for column in table.columns]
        words = text.replace("(", " ").replace(")", " ").replace(",", " ").replace(".", " ").split()
        used = sorted({word for word in words if word in names})
        out.append(
            f"{text};\ntables: {', '.join(table.name for table in tables if table.name in words)}\n"
            f"columns: {', '.join(used) or '*'}"
        )
    return "\n".join(out)


KINDS = {
    "sql_script": script,
    "sql_short": short_script,
    "sql_updates": updates,
    "sql_rewrites": rewrites,
    "sql_anatomy": anatomy,
}
