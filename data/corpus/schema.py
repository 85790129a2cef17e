"""Random everyday databases: typed columns, foreign keys, rows, and the English for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from .lexicon import lines
from .words import Draw


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    kind: str
    english: tuple[str, ...]

    @property
    def numeric(self) -> bool:
        return self.type != "TEXT" and not self.kind.endswith("key")


@dataclass
class Table:
    name: str
    noun: str
    columns: list[Column]
    parents: dict[str, str] = field(default_factory=dict)  # column -> parent table
    keys: dict[str, str] = field(default_factory=dict)  # column -> the parent's key column
    rows: list[list[str]] = field(default_factory=list)
    lower: bool = False  # the looks of CREATE TABLE: types in small letters, no final semicolon

    @property
    def key(self) -> str:
        return self.columns[0].name

    def data_columns(self) -> list[Column]:
        return [column for column in self.columns if not column.kind.endswith("key")]

    def create(self, multi_line: bool, references: bool) -> str:
        """The CREATE TABLE statement."""
        parts = []
        for column in self.columns:
            primary = " PRIMARY KEY" if column.kind == "primary key" else ""
            link = ""
            if references and column.name in self.parents:
                link = f" REFERENCES {self.parents[column.name]}({self.keys[column.name]})"
            parts.append(
                f"{column.name} {column.type.lower() if self.lower else column.type}{primary}{link}"
            )
        end = "" if self.lower else ";"
        if multi_line:
            return f"CREATE TABLE {self.name} (\n  " + ",\n  ".join(parts) + f"\n){end}"
        return f"CREATE TABLE {self.name} ({', '.join(parts)}){end}"


@cache
def same_nouns() -> dict[str, tuple[str, ...]]:
    """Nouns that mean the same as a table's noun."""
    return {words[0]: tuple(words[1:]) for words in (line.split("|") for line in lines("same"))}


@cache
def catalogue() -> dict[str, Column]:
    found = {}
    for line in lines("columns"):
        name, sql_type, kind, english = line.split("|")
        found[name] = Column(name, sql_type, kind, tuple(english.split(";")))
    return found


def column_of(word: str) -> Column:
    """A column of the catalogue, or one spelled out as name:TYPE in the table's line."""
    if ":" in word:
        name, sql_type = word.split(":")
        return Column(name, sql_type, "int 1 90", (name.replace("_", " "), f"number of {name}"))
    return catalogue()[word]


def value(draw: Draw, column: Column) -> str:
    """One value as plain text (no quotes)."""
    kind = column.kind
    if kind.startswith("int "):
        _, low, high = kind.split()
        return str(draw.number(int(low), int(high)))
    if kind.startswith("dec "):
        _, low, high = kind.split()
        return f"{draw.number(int(low), int(high) - 1)}.{draw.number(0, 9)}"
    if "/" in kind:
        return draw.one(*kind.split("/"))
    return _named_value(draw, kind)


def _named_value(draw: Draw, kind: str) -> str:
    person = draw.person()
    simple = {
        "noun": "nouns",
        "animal": "animals",
        "food": "foods",
        "occupation": "occupations",
        "colour": "colours",
    }
    if kind in simple:
        return draw.word(simple[kind])
    makers = {
        "full": lambda: person.full,
        "first": lambda: person.first,
        "last": lambda: person.last,
        "title": lambda: title(draw),
        "city": draw.city,
        "country": draw.country,
        "nationality": draw.nationality,
        "date": draw.date,
        "time": draw.clock,
        "money": draw.money,
        "code": draw.code,
        "coined": lambda: draw.coined().capitalize(),
        "version": lambda: f"{draw.number(1, 9)}.{draw.number(0, 9)}",
        "address": lambda: (
            f"{draw.number(1, 99)} {draw.one('Oak', 'Mill', 'Lake', 'High', 'Rose')} Street"
        ),
        "street": lambda: (
            f"{draw.one('Oak', 'Mill', 'Lake', 'High', 'Rose', 'Elm', 'King')} Street"
        ),
        "phone": lambda: f"{draw.number(100, 999)}-{draw.number(1000, 9999)}",
        "email": lambda: f"{person.first.lower()}@{draw.coined()}.com",
        "site": lambda: f"www.{draw.coined()}.org",
        "user": lambda: f"{person.first.lower()}{draw.number(1, 99)}",
        "phrase": lambda: draw.fill(
            draw.one("the {adjective} {object}", "{adjective} and {adjective}", "no {noun}")
        ),
    }
    return makers[kind]()


def title(draw: Draw) -> str:
    pattern = draw.one(
        "The {adjective} {object}",
        "{adjective} {noun}",
        "The {noun} of {city}",
        "{noun} and {noun}",
        "A {noun} in {month}",
        "{adjective} {animal}",
        "The {occupation}",
        "{colour} {noun}",
    )
    return " ".join(
        word.capitalize() if word not in ("of", "and", "in") else word
        for word in draw.fill(pattern).split()
    )


def quoted(column: Column, text: str) -> str:
    return "'" + text.replace("'", "''") + "'" if column.type == "TEXT" else text


def _for_table(draw: Draw, column: Column, person: bool, stem: str) -> Column:
    """People have people's names; a brand or a ship has a coined or a descriptive one."""
    if column.name != "name":
        return column
    name = draw.one(
        "name", "name", "name", f"{stem}_name", "full_name" if person else f"{stem}_title"
    )
    return Column(
        name,
        column.type,
        "full" if person else draw.one("coined", "title"),
        ("name", f"name of the {stem}"),
    )


def _table(draw: Draw, line: str, bare_key: bool, singular_name: bool) -> Table:
    name, noun, words = line.split("|")
    pool = words.split()
    chosen = [word for word in pool if word in ("name", "title") or draw.chance(0.75)][
        : draw.number(3, 6)
    ]
    chosen = chosen if len(chosen) > 1 else pool[:3]
    extra = draw.rng.sample(sorted(catalogue()), draw.rng.choice((0, 0, 1, 1, 2, 4)))
    names = list(dict.fromkeys(chosen + extra))
    person = any(mark in pool for mark in ("age", "salary", "wage", "hourly_rate", "nationality"))
    if draw.chance(0.3):
        draw.rng.shuffle(names)
    stem = noun.replace(" ", "_")
    table_name = stem if singular_name else name
    if draw.chance(0.04):
        table_name = draw.coined() + draw.one("", "s")
    names = [word for word in names if word != "full_name"] if "name" in names else names
    key = Column("id" if bare_key else f"{stem}_id", "INTEGER", "primary key", ("number",))
    return Table(
        table_name,
        noun,
        [key, *(_for_table(draw, column_of(word), person, stem) for word in names)],
    )


def database(draw: Draw, count: int | None = None, rows: int = 0) -> list[Table]:
    """Tables over a random part of the lexicon; later ones may point to earlier ones."""
    bare_key, singular_name = draw.chance(0.45), draw.chance(0.55)
    chosen = draw.rng.sample(lines("tables"), count or draw.rng.choice((1, 2, 2, 2, 3, 3, 3)))
    tables = [_table(draw, line, bare_key, singular_name) for line in chosen]
    for position, table in enumerate(tables[1:], start=1):
        for parent in draw.rng.sample(tables[:position], draw.number(1, position)):
            stem = parent.noun.replace(" ", "_")
            link = Column(f"{stem}_id", "INTEGER", "foreign key", (f"the {parent.noun}",))
            if link.name in {column.name for column in table.columns}:
                continue
            table.columns.insert(draw.one_of_two(1, len(table.columns)), link)
            table.parents[link.name], table.keys[link.name] = parent.name, parent.key
    lower = draw.chance(0.45)
    for table in tables:
        table.lower = lower
        fill_rows(draw, table, rows)
    return tables


def fill_rows(draw: Draw, table: Table, count: int) -> None:
    for number in range(1, count + 1):
        row = []
        for column in table.columns:
            if column.kind == "primary key":
                row.append(str(number))
            elif column.kind == "foreign key":
                row.append(str(draw.number(1, max(count, 2))))
            else:
                row.append(value(draw, column))
        table.rows.append(row)


def english(draw: Draw, column: Column) -> str:
    """One of the ways English speaks of the column."""
    return draw.rng.choice(column.english) if column.english else column.name.replace("_", " ")
