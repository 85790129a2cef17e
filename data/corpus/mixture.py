"""Which kinds of text the corpus holds and how often each is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import chats, copying, facts, sql_scripts, stories, tables, turns
from .words import Draw

MAKERS: dict[str, Callable[[Draw], str]] = (
    sql_scripts.KINDS
    | tables.KINDS
    | copying.KINDS
    | chats.KINDS
    | stories.KINDS
    | facts.KINDS
    | turns.KINDS
)
WEIGHTS: dict[str, float] = {
    "sql_script": 9,
    "sql_short": 17,
    "sql_updates": 1,
    "sql_rewrites": 1,
    "sql_anatomy": 3,
    "table_facts": 4,
    "table_questions": 5,
    "data_dictionary": 9,
    "column_lists": 8,
    "schema_binding": 4,
    "bracket_turns": 8,
    "line_turns": 8,
    "look_up": 5,
    "look_up_two_level": 5,
    "repeat": 3.5,
    "echo": 4,
    "snippets": 2,
    "form": 3,
    "quotes": 2,
    "sums": 0.7,
    "shopping": 1,
    "chat": 9,
    "sms": 1.5,
    "reported_speech": 5,
    "direct_indirect": 2,
    "story": 3,
    "letter": 1.5,
    "diary": 1,
    "news": 2,
    "who_did_what": 4,
    "encyclopaedia": 1.5,
    "how_to": 0.7,
    "recipe": 0.5,
    "time_facts": 0.7,
    "comparisons": 3,
    "paraphrase": 2.5,
    "word_lists": 1,
    "description": 2,
}


DRILL: dict[str, float] = {
    "drill": 60,
    "echo": 10,
    "repeat": 10,
    "look_up": 12,
    "look_up_two_level": 12,
    "bracket_turns": 6,
    "line_turns": 6,
    "snippets": 3,
}
MIXTURES = {"all": WEIGHTS, "drill": DRILL}


def documents(count: int, seed: int, mixture: str = "all") -> Iterator[tuple[str, str]]:
    """`count` pairs of kind and text.

    Each document has a seed of its own, so a longer run begins like a shorter one.
    """
    names, weights = list(MIXTURES[mixture]), list(MIXTURES[mixture].values())
    for number in range(count):
        draw = Draw(f"{seed}/{number}")
        kind = draw.rng.choices(names, weights)[0]
        yield kind, MAKERS[kind](draw)
