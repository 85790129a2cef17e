"""Conditions on one column: the SQL test and the ways to say it after a plural noun."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from text_to_sql.schema import Column, Database, Table, Value, read_content
from text_to_sql.words import literal, predicate, spoken, with_article

PHRASES = read_content("conditions.toml")
COMPARISONS = {"more": ">", "less": "<", "at_least": ">=", "at_most": "<="}
OWN_PHRASES = {"equal": "same", "more": "more", "less": "less"}
ROLES = {
    "equal": ("kind", "kind", "year", "number", "date"),
    "different": ("kind",),
    "more": ("number", "number", "year", "date"),
    "less": ("number", "number", "year", "date"),
    "at_least": ("number",),
    "at_most": ("number",),
    "between": ("number", "number", "year", "date"),
    "one_of": ("kind",),
    "starts": ("label",),
    "ends": ("label",),
    "contains": ("label",),
    "missing": ("optional",),
    "present": ("optional",),
}


@dataclass(frozen=True)
class Condition:
    column: Column
    test: str
    phrases: list[str]

    def sql(self, prefix: str = "") -> str:
        return f"{prefix}{self.column.name} {self.test}"

    def say(self, rng: Random) -> str:
        return rng.choice(self.phrases)

    def say_predicate(self, rng: Random) -> str | None:
        """The wording after "Which books ..."; None where every wording is a noun phrase."""
        forms = [form for form in map(predicate, self.phrases) if form]
        return rng.choice(forms) if forms else None


def condition(
    operation: str, database: Database, table: Table, rng: Random, roles: tuple[str, ...] = ()
) -> Condition | None:
    """A condition of this operation on a column of the table, with values out of its rows."""
    wanted = [role for role in ROLES[operation] if not roles or role in roles]
    present = [role for role in wanted if table.with_roles(role)]
    if not present:
        return None
    column = rng.choice(table.with_roles(rng.choice(present)))
    values = sorted({row[column.name] for row in database.rows[table.name]} - {None}, key=_order)
    test, slots = _test(operation, values, rng)
    return Condition(column, test, _phrases(operation, column, table, slots))


def _order(value: Value) -> tuple[bool, str | float]:
    return (True, value) if isinstance(value, str) else (False, value or 0)


def _test(operation: str, values: list[Value], rng: Random) -> tuple[str, dict[str, str]]:
    if operation in ("missing", "present"):
        return ("IS NULL" if operation == "missing" else "IS NOT NULL"), {}
    if operation in ("between", "one_of"):
        low, high = sorted(rng.sample(values, 2), key=_order)
        joint = {"between": "BETWEEN {} AND {}", "one_of": "IN ({}, {})"}[operation]
        return joint.format(literal(low), literal(high)), {"v": spoken(low), "w": spoken(high)}
    value = rng.choice(values)
    if operation in ("starts", "ends", "contains"):
        part = _part(operation, str(value), rng)
        pattern = {"starts": "{}%", "ends": "%{}", "contains": "%{}%"}[operation].format(part)
        return f"LIKE {literal(pattern)}", {"v": part}
    sign = {"equal": "=", "different": "!=", **COMPARISONS}[operation]
    return f"{sign} {literal(value)}", {"v": spoken(value)}


def _part(operation: str, text: str, rng: Random) -> str:
    if operation == "starts":
        return text[: rng.choice((1, 1, 2))]
    if operation == "ends":
        return text[-rng.choice((1, 2)) :]
    return rng.choice(text.split())


def _phrases(operation: str, column: Column, table: Table, slots: dict[str, str]) -> list[str]:
    own = getattr(column, OWN_PHRASES[operation]) if operation in OWN_PHRASES else []
    shared = PHRASES[operation][column.role]
    forms = (
        shared.get("many", []) if column.uncountable and column.role == "number" else shared["say"]
    )
    that = "who" if table.person else "that"
    # A column's own wordings count double: they are what people say.
    return [
        form.format(say=noun, a_say=with_article(noun), that=that, **slots)
        for form in [*own, *own, *forms]
        for noun in column.say
    ]


def superlative(direction: str, column: Column, nouns: list[str], rng: Random) -> str:
    """ "oldest member" or "member with the highest age"; `direction` is highest or lowest."""
    noun = rng.choice(nouns)
    adjectives = column.most if direction == "highest" else column.least
    if adjectives and rng.random() < 0.6:
        return f"{rng.choice(adjectives)} {noun}"
    return _shared(direction, column, rng).format(noun=noun, say=rng.choice(column.say))


def order_phrase(direction: str, column: Column, rng: Random) -> str:
    """How a list is ordered; `direction` is rising or falling."""
    if column.most and column.least and rng.random() < 0.3:
        ends = [rng.choice(column.least), rng.choice(column.most)]
        first, last = ends if direction == "rising" else ends[::-1]
        return f"from the {first} to the {last}"
    noun = rng.choice(column.say)
    if column.uncountable:
        noun = f"number of {noun}"
    return _shared(direction, column, rng).format(say=noun)


def _shared(direction: str, column: Column, rng: Random) -> str:
    shared = PHRASES[direction][column.role]
    choice: str = rng.choice(shared["many"] if column.uncountable else shared["say"])
    return choice
