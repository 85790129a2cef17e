"""Which kinds of text the corpus holds and how often each is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import chats, copying, facts, sql, stories, tables, turns
from .words import Draw

MAKERS: dict[str, Callable[[Draw], str]] = (
    sql.KINDS | tables.KINDS | copying.KINDS | chats.KINDS | stories.KINDS | facts.KINDS | turns.KINDS
)
WEIGHTS: dict[str, float] = {
    "sql_script": 11, "sql_short": 16, "sql_updates": 2, "sql_rewrites": 2, "sql_anatomy": 4,
    "table_facts": 5, "table_questions": 5, "data_dictionary": 10, "schema_binding": 5,
    "bracket_turns": 6, "line_turns": 6,
    "look_up": 5, "look_up_two_level": 5, "repeat": 4, "echo": 4, "snippets": 2, "form": 3, "quotes": 2, "sums": 1, "shopping": 1,
    "chat": 9, "sms": 1.5,
    "reported_speech": 4, "direct_indirect": 2, "story": 3, "letter": 1.5, "diary": 1, "news": 2, "who_did_what": 4,
    "encyclopaedia": 2, "how_to": 1, "recipe": 0.7, "time_facts": 1, "comparisons": 3, "paraphrase": 2, "word_lists": 1, "description": 2,
}


def documents(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """`count` pairs of kind and text; each document has a seed of its own, so a longer run begins like a shorter one."""
    names, weights = list(WEIGHTS), list(WEIGHTS.values())
    for number in range(count):
        draw = Draw(f"{seed}/{number}")
        kind = draw.rng.choices(names, weights)[0]
        yield kind, MAKERS[kind](draw)
