"""Which characters of a conversation's text are learnt, told by rendering parts of it.

No template needs `{% generation %}` markers. An answer begins where the render of what stands
before it ends, with the start of an answer asked for, as at inference. It ends with the token that
stops it, in the render that ends with it. A template may write a conversation's beginning in
another way than the whole (some strip old reasoning, some move the system's message); then the
answer is replaced by a mark, and what of the whole changes is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.data.chat import MARK, Chat, Unrenderable
from finetune.data.examples import Conversation, Message, Pair
from finetune.recipe.types import Mask

SETTINGS = ("train", "weight")  # of a message: said to us, not to the template


@dataclass(frozen=True)
class Learnt:
    """A conversation's text and the spans of it that are learnt.

    `apart` counts answers before which the whole has other text than the prompt at inference.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    apart: int = 0


def learnt(chat: Chat, talk: Conversation, mask: Mask) -> Learnt:
    """The text of the whole conversation, and what of it `mask` has the model learn.

    Raises:
        Unrenderable: the template refuses it, or what belongs to an answer cannot be told.
    """
    messages = [bare(message) for message in talk.messages]
    text = chat.text(messages, tools_of(talk))
    if mask == "all":
        return Learnt(text, ((0, len(text)),))
    whole = _Whole(chat, messages, tools_of(talk), text)
    found = [whole.answer(position) for position in _chosen(talk.messages, mask)]
    return Learnt(text, tuple(span for span, _ in found), sum(apart for _, apart in found))


def _chosen(messages: Sequence[Message], mask: Mask) -> list[int]:
    """Positions of the messages that are learnt; one may opt out by `train: false`, `weight: 0`."""
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    if mask == "last_turn":
        answers = answers[-1:]
    elif mask == "completion":
        asked = [at for at, message in enumerate(messages) if message["role"] == "user"]
        answers = [at for at in answers if at > max(asked, default=-1)]
    return [at for at in answers if _is_trained(messages[at])]


def _is_trained(message: Mapping[str, Any]) -> bool:
    return message.get("train") is not False and message.get("weight") != 0


def bare(message: Message) -> Message:
    """The message as the template gets it."""
    if not any(key in message for key in SETTINGS):
        return message
    return {key: value for key, value in message.items() if key not in SETTINGS}


def tools_of(talk: Conversation | Pair) -> Any:
    """The tools that a conversation may call, in the form templates take."""
    return getattr(talk, "tools", None)


@dataclass(frozen=True)
class _Whole:
    """A conversation with its text, in which answers are to be found."""

    chat: Chat
    messages: list[Message]
    tools: Any
    text: str

    def answer(self, position: int) -> tuple[tuple[int, int], bool]:
        """Where the answer lies, its stop token included, and whether its prompt is another."""
        prompt, end = self._prompt(position), self._end(position)
        alike = bool(prompt) and self.text.startswith(prompt)
        start = len(prompt)
        if not alike or end is None:
            body = self._body(position, prompt)
            start = start if alike else body[0]
            end = self._stopped(body[1]) if end is None else end
        if end < start:
            raise Unrenderable(f"what belongs to the answer in message {position + 1} is not clear")
        return (start, end), not alike

    def _prompt(self, position: int) -> str:
        """What the model is given at inference before it writes this answer."""
        if position == 0:
            return ""
        return self.chat.text(self.messages[:position], self.tools, answer_follows=True)

    def _end(self, position: int) -> int | None:
        """The end of the conversation up to this answer, if the whole begins with it.

        What the template writes behind the stop token is no model's to write, and not learnt.
        """
        last = position == len(self.messages) - 1
        until = self.text if last else self.chat.text(self.messages[: position + 1], self.tools)
        _, stop, rest = self.chat.ending
        if until.endswith(stop + rest):
            until = until[: len(until) - len(rest)]
        return len(until) if self.text.startswith(until) else None

    def _body(self, position: int, prompt: str) -> tuple[int, int]:
        """Where the text of the answer lies: what changes with it."""
        marked = list(self.messages)
        marked[position] = {"role": "assistant", "content": MARK}
        before, mark, behind = self.chat.text(marked, self.tools).partition(MARK)
        # A blank before the answer that no prompt ends with is the answer's.
        fixed = before.rstrip() + prompt[len(prompt.rstrip()) :]
        before = fixed if before.startswith(fixed) else before
        start, end = len(before), len(self.text) - len(behind)
        alone = mark and MARK not in behind and start <= end
        if not (alone and self.text.startswith(before) and self.text.endswith(behind)):
            raise Unrenderable(
                f"it writes message {position + 1} in a way that hangs on what follows, so what "
                "belongs to the answer cannot be told"
            )
        return start, end

    def _stopped(self, end: int) -> int:
        """The end with the stop token, if that is what the template writes there."""
        gap, stop, _ = self.chat.ending
        return end + len(gap + stop) if self.text.startswith(gap + stop, end) else end
