"""Word lists and the draws that every family of texts shares: names, things, numbers, dates, verb forms."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LEXICONS = Path(__file__).parent / "lexicons"
MONTHS = (
    "January February March April May June July August September October November December".split()
)
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()
TENS = {3: "thirty", 4: "forty", 5: "fifty", 6: "sixty", 7: "seventy", 8: "eighty", 9: "ninety"}
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()
STREETS = ("Oak", "Mill", "Church", "Station", "Park", "Lake", "High", "King", "Rose", "Hill", "Bridge", "Elm")
ONSETS = "b br c ch d dr f fl g gr h j k kr l m n p pl qu r s sh st t tr v w z".split()
VOWELS = "a e i o u ai ea ie oo".split()
CODAS = ["", "", "", "l", "m", "n", "r", "s", "t", "x", "nd", "rk", "st"]


@cache
def lines(name: str) -> tuple[str, ...]:
    """The non-empty lines of a lexicon file."""
    text = (LEXICONS / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


@cache
def entries(name: str) -> tuple[str, ...]:
    """The entries of a lexicon: separated by commas where the file has any, else by spaces."""
    text = (LEXICONS / f"{name}.txt").read_text(encoding="utf-8").strip()
    return tuple(part.strip() for part in text.split(",")) if "," in text else tuple(text.split())


@cache
def irregular() -> dict[str, tuple[str, str]]:
    return {base: (past, participle) for base, past, participle in (row.split() for row in lines("irregular"))}


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
    special = {"person": "people", "child": "children", "knife": "knives", "shelf": "shelves", "leaf": "leaves",
               "mouse": "mice", "goose": "geese", "sheep": "sheep", "fish": "fish", "wolf": "wolves"}
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


@dataclass(frozen=True)
class Person:
    first: str
    last: str
    female: bool

    @property
    def full(self) -> str:
        return f"{self.first} {self.last}"

    @property
    def he(self) -> str:
        return "she" if self.female else "he"

    @property
    def him(self) -> str:
        return "her" if self.female else "him"

    @property
    def his(self) -> str:
        return "her" if self.female else "his"


class Draw:
    """A seeded source of words."""

    def __init__(self, seed: int | str) -> None:
        self.rng = random.Random(seed)

    def word(self, lexicon: str) -> str:
        return self.rng.choice(entries(lexicon))

    def words(self, lexicon: str, count: int) -> list[str]:
        return self.rng.sample(entries(lexicon), count)

    def one(self, *options: str) -> str:
        return self.rng.choice(options)

    def one_of_two(self, left: int, right: int) -> int:
        return left if self.chance(0.5) else right

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def number(self, low: int, high: int) -> int:
        return self.rng.randint(low, high)

    def coined(self) -> str:
        """A word that no lexicon holds, so that only copying can bring it back."""
        parts = [self.rng.choice(ONSETS) + self.rng.choice(VOWELS) + self.rng.choice(CODAS)
                 for _ in range(self.number(1, 3))]
        return "".join(parts)

    def code(self) -> str:
        letters = "".join(self.rng.choice("ABCDEFGHKLMNPRSTUVWXYZ") for _ in range(self.number(1, 3)))
        return f"{letters}{self.one('-', '', '')}{self.number(10, 9999)}"

    def person(self) -> Person:
        female = self.chance(0.5)
        first = self.word("names_female" if female else "names_male")
        if self.chance(0.06):
            first = self.coined().capitalize()
        return Person(first, self.word("surnames"), female)

    def people(self, count: int) -> list[Person]:
        found: dict[str, Person] = {}
        while len(found) < count:
            person = self.person()
            found.setdefault(person.first, person)
        return list(found.values())

    def city(self) -> str:
        return self.coined().capitalize() if self.chance(0.1) else self.word("cities")

    def country(self) -> str:
        return self.word("countries").split(":")[0]

    def nationality(self) -> str:
        return self.word("countries").split(":")[1]

    def date(self) -> str:
        return f"{self.number(1990, 2025)}-{self.number(1, 12):02d}-{self.number(1, 28):02d}"

    def day(self) -> str:
        """A date as people write it."""
        month, day, year = self.rng.choice(MONTHS), self.number(1, 28), self.number(1950, 2025)
        return self.one(f"{day} {month} {year}", f"{month} {day}, {year}", f"{day} {month}", f"the {day}th of {month}")

    def clock(self) -> str:
        return f"{self.number(6, 22):02d}:{self.rng.choice((0, 5, 10, 15, 20, 30, 40, 45, 50)):02d}"

    def spoken_time(self) -> str:
        hour = self.number(1, 12)
        return self.one(f"{hour}", f"{hour} o'clock", f"half past {NUMBERS[hour]}", f"{hour}:30", f"{hour}:15",
                        f"{hour} pm", f"{hour} am", f"a quarter to {NUMBERS[hour]}", f"{NUMBERS[hour]}")

    def money(self) -> str:
        return f"{self.number(1, 900)}.{self.rng.choice((0, 25, 5, 50, 75, 90, 99)):02d}"

    def thing(self) -> str:
        return self.word(self.one("objects", "objects", "foods", "animals", "nouns"))

    def activity(self, other: str) -> tuple[str, str]:
        """A verb in its base form and the rest of its phrase: ('bring', 'the lamp')."""
        verb, rest = self.rng.choice(lines("activities")).split("|")
        return verb, self.fill(rest, other)

    def fill(self, pattern: str, other: str = "") -> str:
        """The pattern with its {slots} drawn from the lexicons; {a slot} puts the article before it."""
        slots = {"object": "objects", "food": "foods", "animal": "animals", "occupation": "occupations",
                 "adjective": "adjectives", "colour": "colours", "place": "places", "event": "events",
                 "hobby": "hobbies", "clothes": "clothes", "drink": "drinks", "noun": "nouns"}
        out = pattern.replace("{other}", other)
        while "{" in out:
            before, rest = out.split("{", 1)
            slot, after = rest.split("}", 1)
            if slot in slots:
                value = self.word(slots[slot])
            else:
                value = {"city": self.city, "country": self.country, "day": self.day, "time": self.spoken_time,
                         "weekday": lambda: self.rng.choice(WEEKDAYS), "month": lambda: self.rng.choice(MONTHS),
                         "n": lambda: str(self.number(2, 40)), "coined": self.coined, "money": self.money,
                         "name": lambda: self.person().first}[slot]()
            if before.endswith(" a ") and value[0] in "aeiou":
                before = before[:-1] + "n "
            out = before + value + after
        return out
