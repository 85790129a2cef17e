"""First names and the pronouns that go with them."""

import random
from dataclasses import dataclass

PRONOUNS = {
    "f": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
    "m": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
}
ROLES = ("A", "B", "C", "X", "Y", "Z")


@dataclass(frozen=True)
class Person:
    name: str
    gender: str

    def pronoun(self, kind: str) -> str:
        return PRONOUNS[self.gender][kind]


def roster(pools: dict[str, list[str]]) -> list[Person]:
    return [Person(name, gender) for gender in ("f", "m") for name in pools[f"names_{gender}"]]


def draw_cast(people: list[Person], rng: random.Random) -> dict[str, Person]:
    """Three possible speakers (A, B, C) and three people who may be talked about (X, Y, Z), no two alike in name."""
    cast: list[Person] = []
    while len(cast) < len(ROLES):
        person = rng.choice(people)
        if all(person.name[:3] != other.name[:3] for other in cast):
            cast.append(person)
    return dict(zip(ROLES, cast, strict=True))
