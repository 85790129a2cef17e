"""A tokenizer with its chat template: the text of conversations, and how an answer ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from finetune.data.encoder import encoder
from finetune.data.examples import Message
from finetune.errors import DataError, FinetuneError

MARK = "\ue000answer\ue000"  # of the private use area: no template or data has a use for it
CLOSING = "{% if not add_generation_prompt and messages[-1].role == 'assistant' %}"


class Unrenderable(ValueError):
    """Why the template takes a conversation not at all, as a phrase."""


class Chat:
    """Renders and encodes exactly as `tokenizer.apply_chat_template` does, many rows at a time."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def text(
        self, messages: Sequence[Message], tools: Any = None, answer_follows: bool = False
    ) -> str:
        """The template's text, with the start of an answer if one follows.

        Raises:
            Unrenderable: the template refuses the conversation, or fails on it.
        """
        from jinja2 import TemplateError

        try:
            return self.tokenizer.apply_chat_template(
                list(messages), tools=tools, add_generation_prompt=answer_follows, tokenize=False
            )
        except TemplateError as error:
            raise Unrenderable(str(error).splitlines()[0]) from error
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            # A template is a program over whatever the row holds; what it trips over is the row.
            raise Unrenderable(f"it fails with {type(error).__name__}: {error}") from error

    def encodings(self, texts: list[str]) -> list[Any]:
        """Each text's `tokenizers.Encoding`: ids of `apply_chat_template`, places of characters.

        No special tokens are added: those of the template are all there are, so the start token
        cannot come twice.
        """
        return list(self._encoder.encode_batch(texts, add_special_tokens=False))

    @cached_property
    def _encoder(self) -> Any:
        return encoder(self.tokenizer)

    @cached_property
    def added(self) -> frozenset[int]:
        """Ids of tokens that stand for themselves: never parts of words, never merged."""
        return frozenset(self.tokenizer.added_tokens_decoder)

    def lookalikes(self, message: Message) -> list[tuple[int, int]]:
        """Where in a message's text stands what the tokenizer takes for a special token."""
        content = message.get("content")
        if not isinstance(content, str) or not any(each in content for each in self._openings):
            return []
        return [found.span() for found in self._special.finditer(content)]

    @cached_property
    def _special(self) -> re.Pattern[str]:
        """Any of the special tokens by name, the longest first."""
        names = sorted(self._special_names, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or r"(?!)")

    @cached_property
    def _openings(self) -> set[str]:
        """What their names begin with: most text has none of it, which is soon known."""
        return {name[:2] for name in self._special_names}

    @cached_property
    def _special_names(self) -> list[str]:
        if self.tokenizer.split_special_tokens:
            return []
        tokens = self.tokenizer.added_tokens_decoder.values()
        return [token.content for token in tokens if token.special]

    @cached_property
    def ending(self) -> tuple[str, str, str]:
        """What the template writes after an answer: up to its stop token, that token, the rest.

        The token's text is empty where none of the tokenizer's own tokens stands there.
        """
        tail = self._tail
        (encoding,) = self.encodings([tail])
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if token in self.added:
                return tail[:start], tail[start:end], tail[end:]
        return tail, "", ""

    @cached_property
    def stop(self) -> int | None:
        """The token that ends an answer."""
        (encoding,) = self.encodings([self._tail])
        return next((token for token in encoding.ids if token in self.added), None)

    @cached_property
    def _tail(self) -> str:
        talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": MARK}]
        try:
            text = self.text(talk)
        except Unrenderable as error:
            raise _unusable(f"it takes no question with an answer: {error}") from error
        _, mark, tail = text.partition(MARK)
        if not mark:
            raise _unusable("it does not write what the assistant says")
        return tail


def _unusable(why: str) -> DataError:
    return DataError(
        f"the chat template cannot be trained with: {why}",
        remedy="Give base.chat_template: a shipped one by name, or a .jinja file.",
    )


def close_answers(tokenizer: Any) -> str | None:
    """See to it that a token stops an answer; a sentence if the template had none.

    Raises:
        FinetuneError: there is no end token to stop with, or the template writes the start twice.
    """
    chat = Chat(tokenizer)
    _refuse_double_start(chat)
    if chat.stop is not None:
        return None
    if tokenizer.eos_token is None:
        raise FinetuneError(
            "the tokenizer has no end token, and the chat template puts none after an answer",
            where=str(tokenizer.name_or_path),
            remedy="Set eos_token in its tokenizer_config.json, or give base.chat_template.",
        )
    templates, closing = tokenizer.chat_template, f"{CLOSING}{{{{ eos_token }}}}{{% endif %}}"
    if isinstance(templates, dict):
        closed = {name: text.removesuffix("\n") + closing for name, text in templates.items()}
    else:
        closed = templates.removesuffix("\n") + closing
    tokenizer.chat_template = closed
    written = f" (it writes {chat.ending[0]!r} there)" if chat.ending[0] else ""
    return (
        f"the chat template puts no token that stops after an answer{written}: the end token "
        f"{tokenizer.eos_token!r} is added after the last one, and saved with the template"
    )


def _refuse_double_start(chat: Chat) -> None:
    start = chat.tokenizer.bos_token_id
    (encoding,) = chat.encodings([chat.text([{"role": "user", "content": "a"}])])
    if start is not None and encoding.ids[:2] == [start, start]:
        raise _unusable(f"it writes the start token {chat.tokenizer.bos_token!r} twice")
