"""Turns a script's phrase into text: picks alternatives, fills slots and pronouns, keeps a/an and capitals right."""

import random
import re

from .people import Person
from .script import Family, ScriptError

CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{([^{}]+)\}")
VOWEL_SOUND = re.compile(
    r"(?:[aeio]|u(?!ni|se|su|ku)|8\b|8\d|11\b|18\b|hour|honest)", re.IGNORECASE
)


class Facts:
    """What is true in one chat: its people and every slot drawn so far; remembers which slots were said."""

    def __init__(
        self,
        family: Family,
        pools: dict[str, list[str]],
        cast: dict[str, Person],
        rng: random.Random,
    ) -> None:
        self.cast, self.pools, self.rng = cast, pools, rng
        self.values: dict[str, str] = {}
        self.said: set[str] = set()
        self.add_slots(family)

    def add_slots(self, family: Family) -> None:
        for group in family.slots:
            self.values.update(zip(group.names, self.rng.choice(group.rows), strict=True))

    def value(self, name: str) -> str:
        if name not in self.values:
            self.values[name] = self._draw(name)
        return self.values[name]

    def _draw(self, name: str) -> str:
        """A value of the shared pool; `time2` is a draw from `time` that differs from the others there."""
        pool = name.rstrip("0123456789")
        if pool not in self.pools:
            raise ScriptError(f"no slot and no pool is called {name!r}")
        taken = {value for key, value in self.values.items() if key.rstrip("0123456789") == pool}
        return self.rng.choice([value for value in self.pools[pool] if value not in taken])

    def fill(self, key: str) -> str:
        """The text for one `{key}`: a role, `his:A`, `a slot` (with its article) or a slot."""
        word, _, role = key.partition(":")
        if role:
            return self.cast[role].pronoun(word)
        if key in self.cast:
            self.said.add(key)
            return self.cast[key].name
        name = key.removeprefix("a ")
        self.said.add(name)
        text = self.value(name)
        return text if name == key else f"{article(text)} {text}"

    def knows(self, phrase: str) -> bool:
        """Whether everything the phrase mentions was said in the chat (slots named `_x` only help the grammar)."""
        keys = [key.removeprefix("a ") for key in SLOT.findall(phrase)]
        return all(
            key in self.said or key.startswith("_") or ":" in key or key in "ABC" for key in keys
        )


def article(noun: str) -> str:
    return "an" if VOWEL_SOUND.match(noun) else "a"


def pick(phrase: str, rng: random.Random) -> str:
    """Settles every `[one|two]`, innermost first."""
    while CHOICE.search(phrase):
        phrase = CHOICE.sub(lambda found: rng.choice(found.group(1).split("|")), phrase)
    return phrase


def tidy(text: str) -> str:
    """One space between words, none before a mark, a capital at the start of each sentence."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" ([,.!?])", r"\1", text)
    text = re.sub(r"^[,. ]+", "", text)
    text = re.sub(r"([!?])[.,]", r"\1", text)
    return re.sub(r"(^|[.!?] )([a-z])", lambda found: found.group(1) + found.group(2).upper(), text)


def render(phrase: str, facts: Facts) -> str:
    return tidy(SLOT.sub(lambda found: facts.fill(found.group(1)), phrase))
