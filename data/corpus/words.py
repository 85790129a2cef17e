"""The seeded draws that every family of texts shares: people, things, numbers, dates."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .grammar import NUMBERS
from .lexicon import entries, lines

MONTHS = entries("months")
WEEKDAYS = entries("weekdays")
ONSETS = entries("onsets")
VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ie", "oo")
CODAS = ("", "", "", "l", "m", "n", "r", "s", "t", "x", "nd", "rk", "st")


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
        parts = [
            self.rng.choice(ONSETS) + self.rng.choice(VOWELS) + self.rng.choice(CODAS)
            for _ in range(self.number(1, 3))
        ]
        return "".join(parts)

    def code(self) -> str:
        letters = "".join(
            self.rng.choice("ABCDEFGHKLMNPRSTUVWXYZ") for _ in range(self.number(1, 3))
        )
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
        return self.one(
            f"{day} {month} {year}",
            f"{month} {day}, {year}",
            f"{day} {month}",
            f"the {day}th of {month}",
        )

    def clock(self) -> str:
        return f"{self.number(6, 22):02d}:{self.rng.choice((0, 5, 10, 15, 20, 30, 40, 45, 50)):02d}"

    def spoken_time(self) -> str:
        hour = self.number(1, 12)
        return self.one(
            f"{hour}",
            f"{hour} o'clock",
            f"half past {NUMBERS[hour]}",
            f"{hour}:30",
            f"{hour}:15",
            f"{hour} pm",
            f"{hour} am",
            f"a quarter to {NUMBERS[hour]}",
            f"{NUMBERS[hour]}",
        )

    def money(self) -> str:
        return f"{self.number(1, 900)}.{self.rng.choice((0, 25, 5, 50, 75, 90, 99)):02d}"

    def thing(self) -> str:
        return self.word(self.one("objects", "objects", "foods", "animals", "nouns"))

    def activity(self, other: str) -> tuple[str, str]:
        """A verb in its base form and the rest of its phrase: ('bring', 'the lamp')."""
        verb, rest = self.rng.choice(lines("activities")).split("|")
        return verb, self.fill(rest, other)

    def fill(self, pattern: str, other: str = "") -> str:
        """The pattern with its {slots} drawn from the lexicons."""
        slots = {
            "object": "objects",
            "food": "foods",
            "animal": "animals",
            "occupation": "occupations",
            "adjective": "adjectives",
            "colour": "colours",
            "place": "places",
            "event": "events",
            "hobby": "hobbies",
            "clothes": "clothes",
            "drink": "drinks",
            "noun": "nouns",
        }
        out = pattern.replace("{other}", other)
        while "{" in out:
            before, rest = out.split("{", 1)
            slot, after = rest.split("}", 1)
            if slot in slots:
                value = self.word(slots[slot])
            else:
                value = {
                    "city": self.city,
                    "country": self.country,
                    "day": self.day,
                    "time": self.spoken_time,
                    "weekday": lambda: self.rng.choice(WEEKDAYS),
                    "month": lambda: self.rng.choice(MONTHS),
                    "n": lambda: str(self.number(2, 40)),
                    "coined": self.coined,
                    "money": self.money,
                    "name": lambda: self.person().first,
                }[slot]()
            if before.endswith(" a ") and value[0] in "aeiou":
                before = before[:-1] + "n "
            out = before + value + after
        return out
