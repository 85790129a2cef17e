"""English forms: verbs, plurals, articles, numbers in words, and items joined by commas."""

from __future__ import annotations

from functools import cache

from .lexicon import entries, lines

NUMBERS = entries("numbers")
TENS = {3: "thirty", 4: "forty", 5: "fifty", 6: "sixty", 7: "seventy", 8: "eighty", 9: "ninety"}
ORDINALS = entries("ordinals")


@cache
def irregular() -> dict[str, tuple[str, str]]:
    return {
        base: (past, participle)
        for base, past, participle in (row.split() for row in lines("irregular"))
    }


def past(verb: str) -> str:
    """The simple past of a verb given in its base form."""
    if verb in irregular():
        return irregular()[verb][0]
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + ("led" if verb == "cancel" else "ed")


def gerund(verb: str) -> str:
    """The -ing form of a verb given in its base form."""
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    doubled = ("put", "get", "run", "sit", "swim", "win", "cut", "hit", "forget", "begin", "quit")
    return verb + verb[-1] * (verb in doubled) + "ing"


def third(verb: str) -> str:
    """The third person singular of a verb given in its base form."""
    if verb.endswith(("s", "x", "ch", "sh", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


def plural(noun: str) -> str:
    """The plural of a regular noun (and of the commonest irregular ones)."""
    special = {
        "person": "people",
        "child": "children",
        "knife": "knives",
        "shelf": "shelves",
        "leaf": "leaves",
        "mouse": "mice",
        "goose": "geese",
        "sheep": "sheep",
        "fish": "fish",
        "wolf": "wolves",
    }
    if noun in special:
        return special[noun]
    if " of " in noun:
        head, rest = noun.split(" of ", 1)
        return f"{plural(head)} of {rest}"
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + "s"


def article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiouAEIOU" else f"a {noun}"


def in_words(number: int) -> str:
    """A number from 0 to 999 in English words."""
    if number <= 20:
        return NUMBERS[number]
    if number < 100:
        ten, one = divmod(number, 10)
        return (TENS | {2: "twenty"})[ten] + (f"-{NUMBERS[one]}" if one else "")
    hundred, rest = divmod(number, 100)
    return f"{NUMBERS[hundred]} hundred" + (f" and {in_words(rest)}" if rest else "")


def listed(items: list[str], last: str = "and") -> str:
    """Items joined as English does: a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"
