"""Preference pairs: a chat's own summary against a copied or an invented one of about the same length."""

import random
from collections.abc import Iterator
from itertools import combinations

from .compose import Chat, Composer
from .measure import novel_bigram_share, words

COPIED_SHARE = 0.65
LENGTH_SLACK = 4
TRIES = 60


def utterances(chat: Chat) -> list[tuple[str, str]]:
    """The chat's (speaker, text), in order."""
    parts = (line.partition(": ") for line in chat.dialogue.split("\n"))
    return [(name, text) for name, _, text in parts]


def glue(chosen: list[tuple[str, str]], way: str) -> str:
    """Utterances pasted as they are, with their speakers, or lightly tied together."""
    if way == "labelled":
        return " ".join(f"{name}: {text}" for name, text in chosen)
    if way == "said":
        return " ".join(f'{name} says "{text}"' for name, text in chosen)
    return " ".join(text for _, text in chosen)


def copied(chat: Chat, rng: random.Random) -> str | None:
    """One to three utterances of the chat, about as long as its summary; None if no choice of them is."""
    said = utterances(chat)
    aim = len(chat.summary.split()) + rng.randint(-LENGTH_SLACK, LENGTH_SLACK)
    way = rng.choice(["plain", "plain", "labelled", "said"])
    texts = [glue(list(some), way) for size in (1, 2, 3) for some in combinations(said, size)]
    close = [text for text in texts if abs(len(text.split()) - aim) <= 1]
    return rng.choice(close) if close else None


def foreign_share(summary: str, chat: Chat) -> float:
    """Share of the summary's words (names of the speakers apart) that neither the chat nor its summary uses."""
    known = set(words(chat.dialogue)) | set(words(chat.summary))
    mine = [word for word in words(summary) if len(word) > 3]
    return sum(word not in known for word in mine) / max(len(mine), 1)


def other_chats(composer: Composer, chat: Chat, rng: random.Random) -> Iterator[Chat]:
    """Chats about something else, mostly with the same people in them."""
    for _ in range(TRIES):
        family = rng.choice([other for other in composer.families if other.name != chat.family])
        yield composer.chat(rng, family, cast=chat.cast if rng.random() < 0.75 else None)


def invented(composer: Composer, chat: Chat, rng: random.Random) -> str | None:
    """The summary of another chat, often put in these people's mouths; None if none is as long as this one's."""
    aim = len(chat.summary.split()) + rng.randint(-LENGTH_SLACK, LENGTH_SLACK)
    for other in other_chats(composer, chat, rng):
        if abs(len(other.summary.split()) - aim) <= 1 and foreign_share(other.summary, chat) >= 0.5:
            return other.summary
    return None


def draw_kinds(count: int, rng: random.Random) -> list[str]:
    """How each of `count` rejected summaries fails, in random order but exact shares."""
    copies = round(COPIED_SHARE * count)
    kinds = ["copied"] * copies + ["invented"] * (count - copies)
    rng.shuffle(kinds)
    return kinds


def make_pair(
    composer: Composer, chat: Chat, kind: str, rng: random.Random
) -> dict[str, str] | None:
    """The chat with its own summary and one that fails in this way, or None if none of fitting length was found."""
    rejected = copied(chat, rng) if kind == "copied" else invented(composer, chat, rng)
    if rejected is None or (kind == "copied" and novel_bigram_share(rejected, chat.dialogue) > 0.4):
        return None
    return {
        "dialogue": chat.dialogue,
        "chosen": chat.summary,
        "rejected": rejected,
        "rejected_kind": kind,
    }
