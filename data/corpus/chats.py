"""Chats between friends: lines of `Name: text` on everyday plans, favours, news and questions."""

from __future__ import annotations

from functools import cache

from .grammar import past
from .lexicon import lines
from .words import WEEKDAYS, Draw, Person

FAMILY = (
    "mum",
    "dad",
    "sister",
    "brother",
    "aunt",
    "uncle",
    "cousin",
    "grandma",
    "grandpa",
    "wife",
    "husband",
    "son",
    "daughter",
    "boss",
    "neighbour",
    "flatmate",
)
WHEN = (
    "tomorrow",
    "tonight",
    "today",
    "this evening",
    "this weekend",
    "next week",
    "after work",
    "after school",
    "in the morning",
    "at noon",
    "later",
    "soon",
    "on {weekday}",
    "on {weekday}",
    "at {time}",
    "at {time}",
)
SLANG = {
    "you": "u",
    "are": "r",
    "tomorrow": "tmrw",
    "please": "pls",
    "thanks": "thx",
    "because": "cuz",
    "about": "bout",
    "going to": "gonna",
    "want to": "wanna",
    "people": "ppl",
    "okay": "k",
    "I don't know": "idk",
}
EMOJI = (
    "🙂",
    "😂",
    "😅",
    "😍",
    "👍",
    "🎉",
    "😢",
    "😊",
    "🙈",
    ":)",
    ":(",
    ";)",
    ":D",
    "xd",
    "<3",
    "!!",
    "...",
)


@cache
def bank() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines("chat_lines"):
        act, text = line.split("|", 1)
        found.setdefault(act, []).append(text)
    return found


def when(draw: Draw) -> str:
    text = draw.rng.choice(WHEN)
    return text.replace("{weekday}", draw.rng.choice(WEEKDAYS)).replace(
        "{time}", draw.spoken_time()
    )


def utter(draw: Draw, act: str, other: str, third: str, topic: tuple[str, str]) -> str:
    """One line of the act; the chat's topic comes back in most of its lines."""
    text = draw.rng.choice(bank()[act])
    verb, rest = topic if draw.chance(0.6) else draw.activity(third)
    text = (
        text.replace("{do}", f"{verb} {rest}")
        .replace("{did}", f"{past(verb)} {rest}")
        .replace("{third}", third)
    )
    text = text.replace("{when}", when(draw)).replace("{family}", draw.one(*FAMILY))
    return style(draw, draw.fill(text, other))


def style(draw: Draw, text: str) -> str:
    """The looks of typed speech: capitals or none, emoji, short forms, a slip of the finger."""
    if draw.chance(0.5):
        text = text[0].upper() + text[1:]
    if draw.chance(0.12):
        for long, short in SLANG.items():
            text = text.replace(f" {long} ", f" {short} ")
    if draw.chance(0.18):
        text += " " + draw.one(*EMOJI)
    elif text[-1].isalnum() and draw.chance(0.4):
        text += draw.one(".", ".", "!")
    if draw.chance(0.04) and len(text) > 8:
        spot = draw.number(2, len(text) - 3)
        text = text[:spot] + text[spot + 1] + text[spot] + text[spot + 2 :]
    return text


def chat(draw: Draw) -> str:
    """Two or three people, one matter, four to fourteen lines."""
    people = draw.people(3)
    third = people.pop() if draw.chance(0.75) else draw.person()
    topic = draw.activity(third.first)
    first, second = people[0], people[1]
    plan = [("open", first), ("reply", second)] if draw.chance(0.7) else []
    for _ in range(draw.number(1, 3)):
        plan += _exchange(draw, first, second)
    if draw.chance(0.3):
        plan.append((draw.one("react", "more", "tell"), third))
    plan += [("close", first), ("close", second)][: draw.number(0, 2)]
    out = []
    for act, speaker in plan:
        other = second if speaker is first else first
        out.append(f"{speaker.first}: {utter(draw, act, other.first, third.first, topic)}")
    return "\n".join(out)


def _exchange(draw: Draw, first: Person, second: Person) -> list[tuple[str, Person]]:
    one, two = (first, second) if draw.chance(0.6) else (second, first)
    if draw.chance(0.5):
        return [("tell", one), ("react", two), ("more", one)]
    return [("ask", one), (draw.one("yes", "no", "answer"), two), (draw.one("more", "react"), one)]


def sms(draw: Draw) -> str:
    """A single longer message with a greeting and a name under it."""
    writer, reader, third = draw.people(3)
    topic = draw.activity(third.first)
    acts = ["tell", "more", "ask", "more", "close"][: draw.number(3, 5)]
    body = " ".join(
        utter(draw, act, reader.first, third.first, topic).rstrip(".") + "." for act in acts
    )
    hello, bye = draw.one("Hi", "Hey", "Hello", "Dear"), draw.one("", "Love, ", "Yours, ")
    return f"{hello} {reader.first}, {body}\n{bye}{writer.first}"


KINDS = {"chat": chat, "sms": sms}
