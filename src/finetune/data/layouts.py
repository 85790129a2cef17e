"""The layouts that rows come in: which columns each needs, and what a row of it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from finetune.data import preferences
from finetune.data.documents import Row
from finetune.data.examples import BadRow, Conversation, Pair, Prompt, Text, Unpaired
from finetune.data.messages import answer, assistant, messages, prompt, system, text, tools, user

# Shapes that a value may have; see `shape`.
PLAIN = ("text", "truth")
TEXTS = (*PLAIN, "transcript")
ANSWERS = (*TEXTS, "messages")

TRUTHS = {"true": True, "false": False, "1": True, "0": False}
QUESTIONS = ("prompt", "question", "instruction", "input", "query", "problem")
REPLIES = ("completion", "response", "answer", "output", "solution")
SYSTEM = ("system", "system_prompt")


@dataclass(frozen=True)
class Layout:
    """One way to lay out rows. `name` is what a recipe calls it, `title` what a person does.

    `needs` are the columns without which it is another layout, and the shapes they may have;
    `may` are read where they are present. `prepare` completes rows before they are looked at, or
    says what is wrong with one.
    """

    name: str
    title: str
    kind: type
    needs: Mapping[str, Sequence[str]]
    read: Callable[[Row], Any]
    may: tuple[str, ...] = ()
    prepare: Callable[[list[Row]], list[Row | str]] | None = None

    def columns(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the columns that this layout reads."""
        return tuple(name for name in (*self.needs, *self.may) if name in names)


def shape(value: Any) -> str:
    """What a value looks like: text, transcript, messages, message, flag, number, null, …"""
    found = type(value).__name__
    if value is None or value == "":
        found = "null"
    elif isinstance(value, int | float):
        found = "flag" if isinstance(value, bool) or value in {0, 1} else "number"
    elif isinstance(value, str):
        known = "transcript" if preferences.is_transcript(value) else "text"
        found = "truth" if value.lower() in TRUTHS else known
    elif isinstance(value, list) and value and _is_message(value[0]):
        found = "messages"
    elif _is_message(value):
        found = "message"
    return found


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and not {"role", "from"}.isdisjoint(value)


def label(row: Row) -> bool:
    """Whether an answer is a good one: true and false, 1 and 0, or these as text.

    Raises:
        BadRow: it is none of them.
    """
    value = row.get("label")
    found = TRUTHS.get(str(value).strip().lower()) if isinstance(value, bool | int | str) else None
    if found is None:
        raise BadRow(f"'label' is {value!r}, wanted is true or false")
    return found


def answered(turns: list[dict[str, Any]], offered: Any = None) -> Conversation:
    """A conversation in which there is something to learn."""
    if not any(turn["role"] == "assistant" for turn in turns):
        raise BadRow("has no message of the assistant")
    return Conversation(turns, offered)


def _turn(row: Row, question: str, reply: str) -> Conversation:
    before = [*system(row), *prompt(row, question)]
    if row.get("context"):
        before[-1] = user(f"{text(row, 'context')}\n\n{before[-1]['content']}")
    told = row.get(reply)
    after = messages(told, reply) if isinstance(told, list) else [assistant(text(row, reply))]
    return replace(answered([*before, *after], tools(row)), options=_options(row))


def _options(row: Row) -> list[str] | None:
    found = row.get("options")
    if found in (None, []):
        return None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise BadRow("'options' is no list of texts")
    return found


def _messages(row: Row, column: str) -> Conversation:
    return answered([*system(row), *messages(row.get(column), column)], tools(row))


def _alpaca(row: Row) -> Conversation:
    asked = text(row, "instruction")
    if row.get("input"):
        asked = f"{asked}\n\n{text(row, 'input')}"
    before = [turn for pair in row.get("history") or [] for turn in _past(pair)]
    return Conversation([*system(row), *before, user(asked), assistant(text(row, "output"))])


def _past(pair: Any) -> list[dict[str, Any]]:
    if not isinstance(pair, list) or [type(each) for each in pair] != [str, str]:
        raise BadRow("'history' is not a list of [question, answer]")
    return [user(pair[0]), assistant(pair[1])]


def _unpaired(row: Row, reply: str) -> Unpaired:
    return Unpaired([*system(row), *prompt(row, "prompt")], answer(row, reply), label(row))


def _prompt(row: Row, column: str) -> Prompt:
    return Prompt([*system(row), *prompt(row, column)], tools(row))


def _waiting(row: Row) -> Prompt:
    turns = messages(row.get("messages"), "messages")
    while turns and turns[-1]["role"] == "assistant":
        turns.pop()
    if not turns:
        raise BadRow("has no prompt before its last answer")
    return Prompt([*system(row), *turns], tools(row))


def _question_layouts() -> list[Layout]:
    return [
        Layout(
            "prompt_completion",
            "prompt and completion",
            Conversation,
            {question: ANSWERS, reply: ANSWERS},
            partial(_turn, question=question, reply=reply),
            (*SYSTEM, "context", "tools", "options"),
        )
        for question in QUESTIONS
        for reply in REPLIES
        if (question, reply) != ("instruction", "output")
    ]


def _preference_layouts() -> list[Layout]:
    """Of two with the same columns the first names the reading."""
    make = partial(Layout, kind=Pair, title="preference pairs", may=(*SYSTEM, "tools"))
    both, talks, one = (
        {"chosen": shapes, "rejected": shapes} for shapes in (PLAIN, ("messages",), ("message",))
    )
    after = [(column, partial(preferences.pair, question=column)) for column in QUESTIONS]
    within = [(column, partial(preferences.talks_after, question=column)) for column in QUESTIONS]
    return [
        make("orca", needs={"system": (*TEXTS, "null"), "question": TEXTS, **both},
             read=after[1][1]),
        *(make("preference", needs={column: (*PLAIN, "messages"), **both}, read=read)
          for column, read in after),
        make("ultrafeedback", needs={"prompt": TEXTS, **talks}, read=within[0][1]),
        *(make("preference", needs={column: ANSWERS, **talks}, read=read)
          for column, read in within),
        make("preference", needs=talks, read=preferences.talks),
        make("preference", needs=both, read=preferences.beginnings),
        *(make("preference", needs={column: ("messages",), **one},
               read=partial(preferences.pair, question=column))
          for column in ("conversations", "messages")),
    ]  # fmt: skip


_TRANSCRIPTS = {"chosen": ("transcript",), "rejected": ("transcript",)}
_MATCHING = ("answer_matching_behavior", "answer_not_matching_behavior")

LAYOUTS: tuple[Layout, ...] = (
    Layout("text", "plain text", Text, {"text": TEXTS}, lambda row: Text(text(row, "text"))),
    *_question_layouts(),
    Layout("messages", "messages", Conversation, {"messages": ("messages", "text")},
           partial(_messages, column="messages"), (*SYSTEM, "tools")),
    Layout("alpaca", "instruction, input and output", Conversation,
           {"instruction": TEXTS, "output": TEXTS}, _alpaca, ("input", "history", *SYSTEM)),
    Layout("sharegpt", "ShareGPT conversations", Conversation,
           {"conversations": ("messages", "text")},
           partial(_messages, column="conversations"), (*SYSTEM, "tools")),
    *_preference_layouts(),
    Layout("hh", "preference pairs as transcripts", Pair, _TRANSCRIPTS, preferences.transcripts),
    Layout("hh", "preference pairs after a transcript", Pair,
           {"prompt": ("transcript",), "chosen": PLAIN, "rejected": PLAIN},
           preferences.after_transcript),
    Layout("persona", "preference pairs, towards the behaviour", Pair,
           {"question": TEXTS, **dict.fromkeys(_MATCHING, TEXTS)},
           partial(preferences.pair, question="question", better=_MATCHING[0], worse=_MATCHING[1])),
    *(Layout("unpaired", "answers labelled good or bad", Unpaired,
             {"prompt": ANSWERS, reply: ANSWERS, "label": ("flag", "truth")},
             partial(_unpaired, reply=reply), SYSTEM) for reply in REPLIES),
    *(Layout("prompts", "prompts", Prompt, {column: ANSWERS}, partial(_prompt, column=column),
             (*SYSTEM, "tools")) for column in QUESTIONS),
    Layout("prompts", "prompts, up to the last answer", Prompt, {"messages": ("messages",)},
           _waiting, (*SYSTEM, "tools")),
)  # fmt: skip
