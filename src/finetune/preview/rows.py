"""Rows of each kind of stage in pieces, from the ids and labels that the trainer gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from finetune.data.chat import Chat
from finetune.data.examples import Conversation, Message
from finetune.data.masks import bare, tools_of
from finetune.data.pairs import answered, fit, token_ids
from finetune.data.rows import describe
from finetune.data.shorten import CUT_MARK, shorten
from finetune.data.tokens import IGNORED, Encoded, encode
from finetune.errors import DataError
from finetune.preview.pieces import Marks, Part, Piece, Row, Span, pieces
from finetune.recipe.types import Dpo, Pretrain, Sft
from finetune.tasks import examples

Made = tuple[str, list[Row]]  # how many there are in all, and the rows asked for


def talks(stage: Sft, tokenizer: Any, limit: int | None, numbers: range) -> Made:
    """Conversations, the learnt tokens marked."""
    found = examples.conversations(stage.data)
    chat = Chat(tokenizer)
    rows = []
    for number in numbers[: max(0, len(found) - numbers.start)]:
        origin = str(found.origin(number))
        try:
            rows.append(Row(number + 1, origin, *_talk(chat, found[number], limit, stage)))
        except DataError as error:
            rows.append(Row(number + 1, origin, (), (error.what,)))
    return f"{len(found):,} rows", rows


def pairs(stage: Dpo, tokenizer: Any, limit: int | None, numbers: range) -> Made:
    """Pairs: the prompt, and both answers, of which every token counts."""
    found = examples.pairs(stage.data)
    chosen = list(numbers[: max(0, len(found) - numbers.start)])
    chat = Chat(tokenizer)
    rows = []
    for number in chosen:
        fitted = fit(tokenizer, found[number], limit)
        pair, notes = fitted.pair, []
        if fitted.cut:
            notes.append(f"the longer answer takes all of {limit:,} tokens, and loses its end")
        elif fitted.shortened:
            notes.append(f"the prompt lost its middle to fit {limit:,} tokens")
        prompt, *both = token_ids(tokenizer, pair)
        wholes = [
            _plain(chat, chat.text(talk, tools_of(pair)), limit, learnt_from=len(prompt))
            for talk in answered(pair)
        ]
        assert [_ids(whole) for whole in wholes] == [prompt + answer for answer in both]
        parts = [Part(_between(wholes[0], 0, len(prompt)), "prompt")]
        parts += [
            Part(_between(whole, len(prompt), None), title)
            for whole, title in zip(wholes, ("chosen", "rejected"), strict=True)
        ]
        origin = str(found.origin(number))
        rows.append(Row(number + 1, origin, tuple(parts), tuple(notes)))
    return f"{len(found):,} pairs", rows


def blocks(stage: Pretrain, tokenizer: Any, block: int, numbers: range) -> Made:
    """Blocks of equal length, documents one after another with an end between."""
    documents = examples.texts(stage.data)
    stream = _stream(Chat(tokenizer), documents)
    wanted: dict[int, list[Piece]] = {number: [] for number in numbers}
    place = 0
    for piece in stream:
        for token in range(len(piece.ids)):
            number, place = place // block, place + 1
            if number in wanted:
                text = piece.text if token == 0 else ""
                wanted[number].append(replace(piece, text=text, ids=piece.ids[token : token + 1]))
        if place >= numbers.stop * block:
            break
    whole = {number: tuple(found) for number, found in wanted.items() if len(found) == block}
    origin = f"{describe(stage.data)}, tokens {{:,}} to {{:,}}"
    rows = [
        Row(number + 1, origin.format(number * block + 1, (number + 1) * block), (Part(found),))
        for number, found in whole.items()
    ]
    return f"{len(documents):,} documents in blocks of {block:,} tokens", rows


def _talk(
    chat: Chat, talk: Conversation, limit: int | None, stage: Sft
) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    (row,) = encode(chat.tokenizer, [talk], limit, stage.mask)
    messages, _ = shorten(chat.tokenizer, talk.messages, limit, tools=tools_of(talk))
    (full,) = encode(chat.tokenizer, [replace(talk, messages=messages)], None, stage.mask)
    text = chat.text([bare(message) for message in messages], tools_of(talk))
    (encoding,) = chat.encodings([text])
    assert encoding.ids[: len(row.input_ids)] == row.input_ids
    gaps, notes = _gaps(talk.messages, messages, text)
    marks = Marks(
        learnt=[label != IGNORED for label in full.labels],
        special=chat.added,
        lookalikes=list(_lookalikes(chat, messages, text)),
        gaps=gaps,
        limit=limit,
    )
    notes += _said(row, len(encoding.ids) - len(row.input_ids), limit)
    return (Part(pieces(text, encoding, marks)),), tuple(notes)


def _said(row: Encoded, over: int, limit: int | None) -> list[str]:
    notes = []
    if over:
        notes.append(
            f"{over:,} tokens do not fit {limit:,} and are cut, {row.cut:,} of them learnt"
        )
    if row.unstopped:
        notes.append(f"{row.unstopped} answers are learnt without a token that ends them")
    if row.apart:
        notes.append(f"before {row.apart} answers the prompt reads otherwise at inference")
    if row.lookalikes:
        notes.append(f"{row.lookalikes} texts within messages read as special tokens")
    return notes


def _gaps(
    before: Sequence[Message], after: Sequence[Message], text: str
) -> tuple[list[Span], list[str]]:
    """Places of the marks where prompts lost their middle, and how much that was."""
    for number, (whole, fitted) in enumerate(zip(before, after, strict=True), start=1):
        content = fitted.get("content")
        if isinstance(content, str) and content != whole["content"]:
            lost = len(whole["content"]) - len(content) + len(CUT_MARK)
            mark = content.find(CUT_MARK, max(0, _shared(whole["content"], content) - 2))
            shown = CUT_MARK.strip()
            blanks = len(content) - len(content.lstrip())
            start = text.find(content.strip()) - blanks + content.find(shown, max(0, mark))
            note = f"message {number} lost {lost:,} characters where {shown!r} stands"
            return [(start, start + len(shown))], [note]
    return [], []


def _shared(first: str, second: str) -> int:
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(first), len(second)))


def _lookalikes(chat: Chat, messages: Sequence[Message], text: str) -> Iterator[Span]:
    """Places in the text of what reads as a special token and comes from a message."""
    place = 0
    for message in messages:
        found = chat.lookalikes(message)
        content = str(message.get("content"))
        at = text.find(content.strip(), place)
        if found and at >= 0:
            moved = at - (len(content) - len(content.lstrip()))
            yield from ((start + moved, end + moved) for start, end in found)
            place = at


def _plain(chat: Chat, text: str, limit: int | None, learnt_from: int) -> tuple[Piece, ...]:
    (encoding,) = chat.encodings([text])
    learnt = [number >= learnt_from for number in range(len(encoding.ids))]
    return pieces(text, encoding, Marks(learnt=learnt, special=chat.added, limit=limit))


def _between(row: Sequence[Piece], start: int, end: int | None) -> tuple[Piece, ...]:
    """Pieces whose first token is one of those numbers."""
    found, number = [], 0
    for piece in row:
        if start <= number and (end is None or number < end):
            found.append(piece)
        number += len(piece.ids)
    return tuple(found)


def _ids(row: Sequence[Piece]) -> list[int]:
    return [token for piece in row for token in piece.ids]


def _stream(chat: Chat, documents: Any) -> Iterator[Piece]:
    end = chat.tokenizer.eos_token, chat.tokenizer.eos_token_id
    for document in documents:
        yield from _plain(chat, document.text, None, learnt_from=0)
        yield Piece(end[0], (end[1],), learnt=True, special=True)
