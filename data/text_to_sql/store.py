"""SQLite files with the same bytes on every run, and read-only access to them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

from text_to_sql.schema import Database

PAGE_SIZE = 1024  # the smallest files for tables of some dozen rows
# Header fields that follow the SQLite version or the number of writes, not the content:
# file change counter, version-valid-for, SQLite version number (file format, section 1.3).
VOLATILE_HEADER_FIELDS = {24: 1, 92: 1, 96: 3040001}


def write_database(database: Database, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute("BEGIN")
        fill_tables(connection, database)
        connection.execute("COMMIT")
        connection.execute("VACUUM")
    finally:
        connection.close()
    _fix_header(path)


def fill_tables(connection: sqlite3.Connection, database: Database) -> None:
    for statement in database.create_statements():
        connection.execute(statement)
    for table in database.tables:
        marks = ", ".join("?" for _ in table.columns)
        connection.executemany(
            f"INSERT INTO {table.name} VALUES ({marks})",
            [tuple(row.values()) for row in database.rows[table.name]],
        )


def _fix_header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for offset, value in VOLATILE_HEADER_FIELDS.items():
        content[offset : offset + 4] = value.to_bytes(4, "big")
    path.write_bytes(content)


def open_read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
