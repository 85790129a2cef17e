"""How a model sees a conversation: token ids, and which of them are learnt.

The mask comes from rendering prefixes of the conversation, so any chat template will do; none
needs `{% generation %}` markers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune.data.formats import Conversation, Message
from finetune.errors import DataError

IGNORED = -100  # the label that PyTorch's cross-entropy leaves out
CUT_MARK = " … "


@dataclass(frozen=True)
class Encoded:
    """One conversation: `input_ids`, and `labels` equal to them where learnt, else -100."""

    input_ids: list[int]
    labels: list[int]
    shortened: bool = False  # the prompt lost its middle to fit
    cut: int = 0  # learnt tokens lost off the end

    @property
    def learnt(self) -> int:
        """How many tokens the loss is taken over."""
        return sum(label != IGNORED for label in self.labels)


def render(tokenizer: Any, messages: Sequence[Message], answer_follows: bool = False) -> list[int]:
    """Token ids of the chat template, with the start of an answer if one follows."""
    ids = tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=answer_follows, tokenize=True, return_dict=False
    )
    return list(ids)


def encode(tokenizer: Any, conversation: Conversation, max_length: int | None) -> Encoded:
    """Token ids with every assistant turn learnt, its end token included.

    A conversation longer than `max_length` loses the middle of its longest user message; what is
    too long even then loses its end.

    Raises:
        DataError: the template renders a prefix in another way than the whole.
    """
    messages, shortened = shorten(tokenizer, conversation.messages, max_length)
    ids = render(tokenizer, messages)
    labels = [IGNORED] * len(ids)
    for position, message in enumerate(messages):
        if message["role"] == "assistant":
            start = len(_prefix(tokenizer, ids, messages[:position], answer_follows=True))
            end = len(_prefix(tokenizer, ids, messages[: position + 1], answer_follows=False))
            labels[start:end] = ids[start:end]
    limit = max_length or len(ids)
    lost = sum(label != IGNORED for label in labels[limit:])
    return Encoded(ids[:limit], labels[:limit], shortened, lost)


def shorten(
    tokenizer: Any,
    messages: Sequence[Message],
    max_length: int | None,
    answer_follows: bool = False,
) -> tuple[list[Message], bool]:
    """The messages made to fit `max_length` tokens by cutting the middle of the longest prompt.

    The middle goes, since instructions stand at either end; a mark stays in its place.
    """
    fitted = [dict(message) for message in messages]
    if max_length is None or len(render(tokenizer, fitted, answer_follows)) <= max_length:
        return fitted, False
    users = [message for message in fitted if message["role"] != "assistant"]
    longest = max(users, key=lambda message: len(message["content"]))
    whole = longest["content"]
    offsets = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    spans = offsets["offset_mapping"]
    excess = len(render(tokenizer, fitted, answer_follows)) - max_length
    while excess > 0:
        keep = max(0, len(spans) - excess - 1)
        longest["content"] = _without_middle(whole, spans, keep)
        over = len(render(tokenizer, fitted, answer_follows)) - max_length
        if over <= 0 or keep == 0:
            break
        excess += over
    return fitted, True


def shortened_note(shortened: int, of: int, limit: int | None) -> list[str]:
    """A sentence on how many prompts were made to fit, if any was."""
    if not shortened:
        return []
    return [f"{shortened} of {of} prompts lost their middle to fit {limit} tokens"]


def _without_middle(text: str, spans: Sequence[tuple[int, int]], keep: int) -> str:
    head, tail = keep - keep // 2, keep // 2
    start = text[: spans[head - 1][1]] if head else ""
    end = text[spans[len(spans) - tail][0] :] if tail else ""
    return f"{start.rstrip()}{CUT_MARK}{end.lstrip()}"


def _prefix(
    tokenizer: Any, whole: list[int], messages: Sequence[Message], answer_follows: bool
) -> list[int]:
    prefix = render(tokenizer, messages, answer_follows)
    if whole[: len(prefix)] != prefix:
        raise DataError(
            "the chat template renders the beginning of a conversation in another way than the "
            "whole, so what belongs to the answer cannot be told",
            remedy="Give base.chat_template: chatml (or mistral, plain).",
        )
    return prefix


def stop_ids(tokenizer: Any) -> list[int]:
    """Tokens that end an answer: the tokenizer's end, and the template's own where it differs."""
    conversation = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    start = len(render(tokenizer, conversation[:1], answer_follows=True))
    special = set(tokenizer.all_special_ids)
    tail = [token for token in render(tokenizer, conversation)[start:] if token in special]
    return sorted({tokenizer.eos_token_id, *tail[:1]} - {None})
