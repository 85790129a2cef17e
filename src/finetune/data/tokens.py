"""How a model sees a conversation: token ids, and which of them are learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune.data.chat import Chat, Unrenderable
from finetune.data.encoder import ahead, batches
from finetune.data.examples import Conversation
from finetune.data.masks import Learnt, learnt, tools_of
from finetune.data.shorten import shorten
from finetune.errors import DataError
from finetune.garbage import spared
from finetune.recipe.types import Mask

IGNORED = -100  # the label that PyTorch's cross-entropy leaves out
NAMED = 10  # rows named one by one in a message


@dataclass(frozen=True)
class Encoded:
    """One conversation: `input_ids`, and `labels` equal to them where learnt, else -100.

    `cut` counts learnt tokens lost off the end, `unstopped` answers that are learnt without the
    token that ends them, `apart` those whose prompt reads otherwise at inference, `lookalikes`
    texts of messages that the tokenizer takes for special tokens.
    """

    input_ids: list[int]
    labels: list[int]
    shortened: bool = False  # a prompt lost its middle to fit
    cut: int = 0
    unstopped: int = 0
    apart: int = 0
    lookalikes: int = 0

    @property
    def learnt(self) -> int:
        """How many tokens the loss is taken over."""
        return len(self.labels) - self.labels.count(IGNORED)


def encode(
    tokenizer: Any,
    talks: Sequence[Conversation],
    max_length: int | None,
    mask: Mask = "assistant",
) -> list[Encoded]:
    """Token ids of each conversation with what `mask` names learnt, stop tokens included.

    A conversation longer than `max_length` loses the middle of its longest message that is not
    the assistant's; what is too long even then loses its end.

    Raises:
        DataError: the template refuses a row, or what belongs to an answer cannot be told.
    """
    return list(encoded(Chat(tokenizer), talks, max_length, mask))


def encoded(
    chat: Chat,
    talks: Iterable[Conversation],
    max_length: int | None,
    mask: Mask,
    skipped: Callable[[int, str], None] | None = None,
) -> Iterator[Encoded]:
    """As `encode`, row by row; the text of the next batches is made while some are tokenised.

    With `skipped` a row that the template refuses is left out, and told by its number (from 0)
    and the reason.
    """
    refused: list[tuple[int, str]] = []
    refuse = skipped or (lambda index, reason: refused.append((index, reason)))
    drafts = batches(_drafts(chat, talks, mask, refuse), lambda draft: draft.learnt.text)
    # Rendering leaves cycles, row after row; looking for them took a quarter of all the time.
    with spared():
        for batch, encodings in ahead(lambda each: _encodings(chat, each), drafts):
            yield from _rows(chat, batch, encodings, max_length, mask)
    if refused:
        raise _refusal(refused, talks)


@dataclass(frozen=True)
class _Draft:
    """A conversation whose text waits to be tokenised."""

    talk: Conversation
    learnt: Learnt


def _drafts(
    chat: Chat, talks: Iterable[Conversation], mask: Mask, refuse: Callable[[int, str], None]
) -> Iterator[_Draft]:
    for index, talk in enumerate(talks):
        try:
            yield _Draft(talk, learnt(chat, talk, mask))
        except Unrenderable as error:
            refuse(index, str(error))


def _encodings(chat: Chat, drafts: list[_Draft]) -> list[Any]:
    return chat.encodings([draft.learnt.text for draft in drafts])


def _rows(
    chat: Chat, drafts: list[_Draft], encodings: list[Any], max_length: int | None, mask: Mask
) -> Iterator[Encoded]:
    for draft, encoding in zip(drafts, encodings, strict=True):
        if max_length is None or len(encoding) <= max_length:
            yield _row(chat, draft, encoding)
        else:
            yield _fitted(chat, draft, max_length, mask)


def _fitted(chat: Chat, draft: _Draft, max_length: int, mask: Mask) -> Encoded:
    tools = tools_of(draft.talk)
    messages, shortened = shorten(chat.tokenizer, draft.talk.messages, max_length, tools=tools)
    talk = replace(draft.talk, messages=messages)
    shorter = _Draft(talk, learnt(chat, talk, mask))
    (encoding,) = chat.encodings([shorter.learnt.text])
    return _row(chat, shorter, encoding, max_length, shortened)


def _row(
    chat: Chat,
    draft: _Draft,
    encoding: Any,
    max_length: int | None = None,
    shortened: bool = False,
) -> Encoded:
    ids: list[int] = encoding.ids
    labels = [IGNORED] * len(ids)
    unstopped = 0
    limit = len(ids) if max_length is None else max_length
    for span in draft.learnt.spans:
        start, end = _tokens(chat, encoding, span, len(draft.learnt.text))
        labels[start:end] = ids[start:end]
        unstopped += end > limit or not _is_stopped(chat, ids, start, end)
    labels[:1] = [IGNORED]  # before the first token there is nothing to tell it from
    return Encoded(
        input_ids=ids[:limit],
        labels=labels[:limit],
        shortened=shortened,
        cut=sum(label != IGNORED for label in labels[limit:]),
        unstopped=unstopped,
        apart=draft.learnt.apart,
        lookalikes=sum(len(chat.lookalikes(message)) for message in draft.talk.messages),
    )


def _is_stopped(chat: Chat, ids: list[int], start: int, end: int) -> bool:
    """Whether a token ends the answer; of a conversation learnt whole, whether one is in it."""
    return start < end and (ids[end - 1] in chat.added or (start == 0 and chat.stop in ids))


def _tokens(chat: Chat, encoding: Any, span: tuple[int, int], size: int) -> tuple[int, int]:
    """The tokens that hold a character of the span, in a text of `size` characters.

    A token may lie across the border where words merge: it belongs to the answer, which would
    otherwise lack a character. Tokens added to the vocabulary merge with nothing but take in
    blanks beside them; such a one before an answer is the prompt's, as at inference.
    """
    start, end = span
    first, across = _token_at(encoding, start, end)
    if first is None:
        return 0, 0
    first += across and encoding.ids[first] in chat.added
    last, across = _token_at(encoding, end, size)
    return first, len(encoding) if last is None else last + across


def _token_at(encoding: Any, place: int, end: int) -> tuple[int | None, bool]:
    """The first token that holds the character at `place` or after, and whether it begins before.

    Characters that normalisation removes are held by none.
    """
    for character in range(place, end):
        token = encoding.char_to_token(character)
        if token is not None:
            return token, encoding.token_to_chars(token)[0] < place
    return None, False


def _refusal(refused: list[tuple[int, str]], talks: Any) -> DataError:
    place = getattr(talks, "origin", lambda index: f"row {index + 1}")
    listed = [f"{place(index)}: {reason}" for index, reason in refused[:NAMED]]
    if len(refused) > NAMED:
        listed.append(f"and {len(refused) - NAMED:,} more")
    head = f"the chat template does not take {len(refused):,} rows"
    return DataError(
        "\n    ".join([head, *listed]),
        remedy="Mend these rows, leave them out with data.on_bad_row: skip, or give another "
        "base.chat_template (chatml takes any order of turns).",
    )


def stop_ids(tokenizer: Any) -> list[int]:
    """Tokens that end an answer: the tokenizer's end, and the template's own where it differs."""
    return sorted({tokenizer.eos_token_id, Chat(tokenizer).stop} - {None})
