"""Wordings of a draft: the templates of its kind filled with the words it offers."""

from __future__ import annotations

import re
from random import Random
from typing import Any

from text_to_sql.drafts import Draft
from text_to_sql.schema import read_content

SLOT = re.compile(r"\{(\w+)\}")
REPAIRS = [  # an article before a slot cannot know what follows it
    (re.compile(r"\b([Aa]) (?=[aeiou])"), r"\1n "),
    (re.compile(r"  +"), " "),
]


def read_phrasings() -> dict[str, dict[str, Any]]:
    return read_content("phrasings.toml")


def usable(templates: list[str], draft: Draft) -> list[str]:
    return [
        template
        for template in templates
        if all(draft.words.get(slot) is not None for slot in SLOT.findall(template))
    ]


def question(templates: list[str], draft: Draft, rng: Random) -> str | None:
    """One wording of the draft; None where no template fits it."""
    fitting = usable(templates, draft)
    if not fitting:
        return None
    text = rng.choice(fitting).format_map(draft.words)
    for pattern, replacement in REPAIRS:
        text = pattern.sub(replacement, text)
    return text[0].upper() + text[1:]
