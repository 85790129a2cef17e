"""Conversations in the two chat markups, all about copying and looking up, none about a task.

The bases meet the marks of their chat template here, so that their embeddings are trained; the
other model's marks are plain text to each.
"""

from __future__ import annotations

from .copying import _tokens
from .grammar import ORDINALS, listed, past
from .tables import column_lists, dictionary, table_questions
from .words import Draw

SYSTEM = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "Answer with one word.",
    "You copy and look up things.",
    "Use only what the text says.",
)


def _about_list(draw: Draw) -> tuple[str, str]:
    items = _tokens(draw, draw.number(3, 8))
    whole = ", ".join(items)
    pick = draw.number(0, len(items) - 1)
    asked, answer = draw.rng.choice(
        [
            ("Repeat the list.", whole),
            ("Reverse the list.", ", ".join(reversed(items))),
            ("Sort the list.", ", ".join(sorted(items))),
            (f"What is the {ORDINALS[pick]} item?", items[pick]),
            ("How many items are there?", str(len(items))),
            ("Which is the last one?", items[-1]),
            ("Put quotes around each.", ", ".join(f"'{item}'" for item in items)),
            ("Write it as a sentence.", f"The items are {listed(items)}."),
            (f"Leave out {items[pick]}.", ", ".join(item for item in items if item != items[pick])),
        ]
    )
    return draw.one(f"{asked}\n{whole}", f"{whole}\n{asked}"), answer


def _about_keys(draw: Draw) -> tuple[str, str]:
    keys = _tokens(draw, draw.number(3, 8))
    kind, lexicon = draw.rng.choice(
        [
            ("colour", "colours"),
            ("place", "places"),
            ("owner", "names_female"),
            ("job", "occupations"),
            ("city", "cities"),
            ("animal", "animals"),
        ]
    )
    values = [draw.word(lexicon) for _ in keys]
    shape = draw.one("The {0} of {1} is {2}.", "{1}: {2}", "{1} has the {0} {2}.")
    told = draw.one("\n", " ").join(
        shape.format(kind, key, value) for key, value in zip(keys, values, strict=True)
    )
    pick = draw.number(0, len(keys) - 1)
    answer = draw.one(values[pick], f"The {kind} of {keys[pick]} is {values[pick]}.")
    asked = f"What is the {kind} of {keys[pick]}?"
    return draw.one(f"{told}\n{asked}", f"{asked}\n{told}"), answer


def _about_people(draw: Draw) -> tuple[str, str]:
    people = draw.people(draw.number(2, 4))
    deeds = [draw.activity(draw.person().first) for _ in people]
    text = " ".join(
        f"{who.first} {past(verb)} {rest}." for who, (verb, rest) in zip(people, deeds, strict=True)
    )
    pick = draw.number(0, len(people) - 1)
    who, (verb, rest) = people[pick], deeds[pick]
    asked, answer = draw.rng.choice(
        [
            (f"Who {past(verb)} {rest}?", who.first),
            (f"What did {who.first} do?", f"{who.first} {past(verb)} {rest}."),
            ("Who is named?", listed([person.first for person in people])),
            ("Repeat the text.", text),
        ]
    )
    return f"{text}\n{asked}", answer


def _about_table(draw: Draw) -> tuple[str, str]:
    """A table or a schema, one of its questions, and the short answer found in it."""
    while True:
        text = draw.rng.choice((table_questions, dictionary, column_lists))(draw)
        lines = text.split("\n")
        asked = [
            line
            for line in lines
            if "? " in line or (": " in line and "." in line.split(": ")[1] and "(" not in line)
        ]
        asked = [line for line in asked if not line.startswith(("CREATE", "{", "|", "Words"))]
        if not asked:
            continue
        first = lines.index(asked[0])
        question, answer = (
            draw.rng.choice(asked).replace(": ", ":\t").replace("? ", "?\t").split("\t", 1)
        )
        if "\t" not in answer and first > 0:
            given = [line for line in lines[:first] if line not in asked]
            return draw.one("\n".join([*given, question]), "\n".join([question, *given])), answer


def conversation(draw: Draw) -> list[dict[str, str]]:
    """Messages in the usual roles."""
    out = [{"role": "system", "content": draw.one(*SYSTEM)}] if draw.chance(0.25) else []
    for _ in range(draw.one_of_two(1, 2) if draw.chance(0.4) else 1):
        user, answer = draw.rng.choice(
            (_about_list, _about_keys, _about_people, _about_table, _about_table)
        )(draw)
        out += [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    return out


def bracket_marks(draw: Draw) -> str:
    """[INST] markup; the very last end mark is left to whoever joins the documents."""
    out, system = "<s>", ""
    for message in conversation(draw):
        if message["role"] == "system":
            system = message["content"] + "\n\n"
        elif message["role"] == "user":
            out += f"[INST]{system}{message['content']}[/INST]"
            system = ""
        else:
            out += message["content"] + "</s>"
    return out.removesuffix("</s>")


def line_marks(draw: Draw) -> str:
    """<|im_start|> markup; the very last end mark is left to whoever joins the documents."""
    parts = [
        f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>"
        for message in conversation(draw)
    ]
    return "\n".join(parts).removesuffix("<|im_end|>")


KINDS = {"bracket_turns": bracket_marks, "line_turns": line_marks}
