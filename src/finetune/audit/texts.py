"""Rows as text: what they ask, what they answer, and whether their characters are whole."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from finetune.audit.findings import Measured
from finetune.data.examples import Conversation, Message, Pair, Text

# UTF-8 read as Windows-1252 or Latin-1; a replacement mark; control characters.
MOJIBAKE = re.compile(
    "[\u00c2\u00c3][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    "\u2013\u2014\u2018-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]"
    "|\u00e2\u20ac[\u0080-\u00bf\u0153\u02dc\u2018-\u201d\u2020-\u2022\u2026\u2122\u00a6]"
    "|\u00f0\u0178[\u0080-\u00bf\u2018-\u201e\u2020-\u2022\u2026\u20ac]"
)
DAMAGED = re.compile(f"{MOJIBAKE.pattern}|\ufffd|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")


def parts(example: Any) -> tuple[str, str]:
    """What an example asks, and what of it is learnt (of a pair, both answers)."""
    if isinstance(example, Text):
        return "", example.text
    if isinstance(example, Pair):
        return joined(example.prompt), joined([*example.chosen, *example.rejected])
    assert isinstance(example, Conversation)
    answers = [each for each in example.messages if each["role"] == "assistant"]
    return joined(each for each in example.messages if each["role"] != "assistant"), joined(answers)


def joined(messages: Iterable[Message]) -> str:
    """What messages say, one after another."""
    return "\n".join(str(message.get("content") or "") for message in messages)


def duplicates(texts: Iterable[tuple[str, str]], total: int) -> Measured:
    """Rows whose question and answer both stand in a row before."""
    seen: set[bytes] = set()
    rows = []
    for number, (asked, answered) in enumerate(texts):
        key = hashlib.blake2b(f"{asked}\0{answered}".encode(), digest_size=12).digest()
        if key in seen:
            rows.append(number)
        seen.add(key)
    return Measured("duplicates", len(rows), total, rows)


def damaged(texts: Iterable[tuple[str, str]], total: int) -> Measured:
    """Rows with traces of a wrong encoding, or control characters."""
    rows, first = [], ""
    for number, text in enumerate(texts):
        for part in text:
            if found := DAMAGED.search(part):
                rows.append(number)
                first = first or part[max(0, found.start() - 10) : found.end() + 10]
                break
    return Measured("damaged_text", len(rows), total, rows, more=repr(first) if first else "")


def length_bias(pairs: Sequence[Pair]) -> Measured:
    """How many pairs say that the longer answer is the better one, or that the shorter is.

    Those of the more frequent side; pairs of equal lengths say nothing.
    """
    longer: list[int] = []
    shorter: list[int] = []
    gap = 0
    for number, pair in enumerate(pairs):
        difference = len(joined(pair.chosen)) - len(joined(pair.rejected))
        gap += difference
        if difference:
            (longer if difference > 0 else shorter).append(number)
    rows = max(longer, shorter, key=len)
    more = f"the better answer is {gap / max(1, len(pairs)):+.0f} characters longer on average"
    return Measured("length_bias", len(rows), len(longer) + len(shorter), rows, "pairs", more=more)
