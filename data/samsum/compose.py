"""Puts one chat together from beats and says in a summary what came of it."""

import random
import re
from dataclasses import dataclass
from itertools import pairwise

from .people import Person, draw_cast, roster
from .phrase import Facts, pick, render
from .script import CONTENT, Beat, Family, ScriptError, read_families, read_pools, read_scenarios
from .style import draw_style, messages

MIN_TURNS, MAX_TURNS = 4, 14
MIN_WORDS, MAX_WORDS = 28, 140
MAX_SENTENCES = 3


@dataclass(frozen=True)
class Chat:
    family: str
    dialogue: str
    summary: str
    cast: dict[str, Person]


class Composer:
    """Knows the scripts, the pools and the names; writes chats with a caller's random generator."""

    def __init__(self) -> None:
        self.families = read_scenarios()
        self.talk = read_families(CONTENT / "talk.txt")[0]
        self.pools = read_pools()
        self.people = roster(self.pools)

    def chat(
        self,
        rng: random.Random,
        family: Family | None = None,
        cast: dict[str, Person] | None = None,
    ) -> Chat:
        """One chat; tries again with other draws until it is neither too short nor too long."""
        while True:
            chosen = family or rng.choice(self.families)
            chat = self._attempt(chosen, cast or draw_cast(self.people, rng), rng)
            if fits(chat):
                return chat

    def _attempt(self, family: Family, cast: dict[str, Person], rng: random.Random) -> Chat:
        facts = Facts(family, self.pools, cast, rng)
        facts.add_slots(self.talk)
        beats = self._plan(family, rng)
        lines = speak(beats, facts, rng)
        return Chat(family.name, "\n".join(lines), summarise(family, beats, facts, rng), cast)

    def _plan(self, family: Family, rng: random.Random) -> list[Beat]:
        """The order of beats: prelude, opening, details, a detour, the outcome, a second topic, goodbye."""
        opening = rng.choice(family.of_kind("open"))
        greets = opening.turns[0].speaker == "A"
        beats = [*maybe(self.talk, "prelude", 0.36 if greets else 0.0, rng), opening]
        details = [beat for beat in family.of_kind("maybe") if rng.random() < 0.55][:2]
        end = rng.choice(family.of_kind("end"))
        side = maybe(self.talk, "side", 0.28, rng)
        if side and details and details[-1].told:
            details.pop()
        beats += details
        if rng.random() < 0.14:
            beats.insert(
                len(beats) - rng.randint(0, len(details)), rng.choice(self.talk.of_kind("detour"))
            )
        beats += [end, *side]
        return beats + maybe(self.talk, "close", 0.45, rng)


def maybe(family: Family, kind: str, share: float, rng: random.Random) -> list[Beat]:
    return [rng.choice(family.of_kind(kind))] if rng.random() < share else []


def speak(beats: list[Beat], facts: Facts, rng: random.Random) -> list[str]:
    """The chat's lines, each `Name: text` in its speaker's own style."""
    styles = {role: draw_style(rng) for role in "ABC"}
    lines: list[str] = []
    for beat in beats:
        for turn in beat.turns:
            text = render(pick(rng.choice(turn.lines), rng), facts)
            if text != "-":
                name = facts.cast[turn.speaker].name
                lines += [
                    f"{name}: {message}" for message in messages(text, styles[turn.speaker], rng)
                ]
    return lines


def tell(family: Family, ways: list[str], facts: Facts, rng: random.Random) -> str:
    """One of the ways to put it that only mentions what was said in the chat."""
    known = [way for way in (pick(way, rng) for way in ways) if facts.knows(way)]
    if not known:
        raise ScriptError(
            f"family {family.name}: no summary of {ways} keeps to what was said: {sorted(facts.said)}"
        )
    return render(rng.choice(known), facts)


def summarise(family: Family, beats: list[Beat], facts: Facts, rng: random.Random) -> str:
    """Opening, details, outcome, second topic in order; an outcome's `whole` stands for all before it."""
    parts: list[str] = []
    for beat in beats:
        if beat.whole and (not beat.sentences or rng.random() < 0.5):
            parts = [tell(family, beat.whole, facts, rng)]
        elif beat.sentences:
            parts.append(tell(family, beat.sentences, facts, rng))
    return " ".join(with_pronouns(parts, facts))


def with_pronouns(parts: list[str], facts: Facts) -> list[str]:
    """Says He or She where a sentence starts with the name the one before it started with."""
    spoken = list(parts[:1])
    for before, after in pairwise(parts):
        part = after
        for person in facts.cast.values():
            unclear = re.search(rf"\b{person.pronoun('him')}\b", part)
            if (
                before.startswith(person.name)
                and part.startswith(f"{person.name} ")
                and not unclear
            ):
                part = person.pronoun("he").capitalize() + part.removeprefix(person.name)
        spoken.append(part)
    return spoken


def fits(chat: Chat) -> bool:
    turns, words = chat.dialogue.count("\n") + 1, len(chat.dialogue.split())
    sentences = sum(chat.summary.count(mark) for mark in (". ", "! ", "? ")) + 1
    return (
        MIN_TURNS <= turns <= MAX_TURNS
        and MIN_WORDS <= words <= MAX_WORDS
        and sentences <= MAX_SENTENCES
    )
