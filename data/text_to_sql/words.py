"""Small English: plurals, articles, lists, predicates and SQL literals."""

from __future__ import annotations

from random import Random

from text_to_sql.schema import Column, Value

PRESENT = {
    verb: verb + "s" for verb in ("own", "keep", "contain", "operate", "lead", "employ", "offer")
} | {"have": "has"}
NUMBER_WORDS = {2: "two", 3: "three", 4: "four", 5: "five"}


def plural(noun: str) -> str:
    head, separator, rest = noun.partition(" of ")
    if head.endswith("y") and head[-2] not in "aeiou":
        head = head[:-1] + "ies"
    elif head.endswith(("s", "x", "ch", "sh")):
        head += "es"
    else:
        head += "s"
    return head + separator + rest


def say_one(column: Column, rng: Random) -> str:
    noun = rng.choice(column.say)
    return f"number of {noun}" if column.uncountable and column.role == "number" else noun


def say_many(column: Column, rng: Random) -> str:
    if column.uncountable:
        noun = rng.choice(column.say)
        return f"numbers of {noun}" if column.role == "number" else noun
    return rng.choice(column.plural or [plural(noun) for noun in column.say])


def with_article(noun: str) -> str:
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"


def predicate(condition: str) -> str | None:
    """What follows "Which books ..." for a condition such as "with more than 300 pages"."""
    first, _, rest = condition.partition(" ")
    if first == "with":
        return f"have {rest}"
    if first in ("that", "who"):
        return rest
    if first in ("whose", "without"):
        return None
    return f"are {condition}"


def singular_verb(verb: str) -> str:
    """ "has written" for "have written"; a past tense stays as it is."""
    first, separator, rest = verb.partition(" ")
    return PRESENT.get(first, first) + separator + rest


def spoken(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def literal(value: Value) -> str:
    """The value as SQL text; a whole float is written without its useless fraction."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return spoken(value)


def count_word(number: int, rng: Random) -> str:
    return NUMBER_WORDS[number] if number in NUMBER_WORDS and rng.random() < 0.3 else str(number)
