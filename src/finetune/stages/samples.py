"""A few rows as the model saw them, kept beside the weights for whoever reads the report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import datasets

from finetune.data.tokens import IGNORED, Encoded
from finetune.job import Job
from finetune.ranks import is_main

NAME = "samples.jsonl"


def telling(rows: datasets.Dataset) -> list[int]:
    """Numbers of the rows worth a look: the first, the longest, the first that had to be cut.

    `rows` has the columns of `encode_rows`.
    """
    lengths = list(rows["length"])
    losses = zip(rows["shortened"], rows["cut"], strict=True)
    cut = [index for index, lost in enumerate(losses) if any(lost)]
    return list(dict.fromkeys([0, lengths.index(max(lengths)), *cut[:1]]))


def leave(job: Job, tokenizer: Any, rows: Iterable[tuple[int, str, Encoded]]) -> None:
    """Write rows, given as (number, what it is, tokens), into the stage's folder."""
    if not is_main():
        return
    lines = [
        {
            "row": number,
            "title": title,
            "runs": runs(tokenizer, row),
            "shortened": row.shortened,
            "cut": row.cut,
        }
        for number, title, row in rows
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (job.out / NAME).write_text(text, encoding="utf-8", errors="replace")


def runs(tokenizer: Any, row: Encoded) -> list[dict[str, Any]]:
    """The row's text in stretches that are learnt or not, with their number of tokens.

    Each is what it adds to the text before it: decoded alone, some tokenizers drop a space.
    """
    found: list[dict[str, Any]] = []
    before, end = "", 0
    for learnt, group in groupby(row.labels, key=lambda label: label != IGNORED):
        count = len(list(group))
        end += count
        text = tokenizer.decode(row.input_ids[:end], clean_up_tokenization_spaces=False)
        found.append({"text": text[len(before) :], "learnt": learnt, "tokens": count})
        before = text
    return found
