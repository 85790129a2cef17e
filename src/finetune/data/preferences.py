"""Preference pairs of every layout: one prompt, two answers, the better one first."""

from __future__ import annotations

from typing import Any

from finetune.data.documents import Row
from finetune.data.examples import BadRow, Message, Pair
from finetune.data.messages import answer, assistant, messages, prompt, system, text, tools, user

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


def pair(row: Row, question: str, better: str = "chosen", worse: str = "rejected") -> Pair:
    """A prompt and two answers in columns of their own."""
    before = [*system(row), *prompt(row, question)]
    return _differing(Pair(before, answer(row, better), answer(row, worse), tools(row)))


def talks(row: Row) -> Pair:
    """Two conversations that differ in their last turn alone.

    Raises:
        BadRow: they differ before it, or do not end with the assistant.
    """
    chosen, rejected = (messages(row.get(column), column) for column in ("chosen", "rejected"))
    if chosen[:-1] != rejected[:-1]:
        raise BadRow("prompts differ: 'chosen' and 'rejected' part before their last turn")
    if not chosen[:-1]:
        raise BadRow("has no prompt: 'chosen' is an answer alone")
    for column, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns[-1]["role"] != "assistant":
            raise BadRow(f"{column!r} does not end with the assistant")
    before = [*system(row), *chosen[:-1]]
    return _differing(Pair(before, chosen[-1:], rejected[-1:], tools(row)))


def talks_after(row: Row, question: str) -> Pair:
    """Answers as messages beside a prompt; UltraFeedback's repeat the prompt as first turns.

    Raises:
        BadRow: they begin with another prompt.
    """
    asked = prompt(row, question)
    if all(len(messages(row.get(column), column)) == 1 for column in ("chosen", "rejected")):
        return pair(row, question)
    found = talks(row)
    own = [turn for turn in found.prompt if turn["role"] != "system"]
    if asked[-1]["content"] not in {turn["content"] for turn in own}:
        raise BadRow(f"prompts differ: the answers do not begin with {question!r}")
    return found


def beginnings(row: Row) -> Pair:
    """Two texts: what both begin with, up to a space, is the prompt (as TRL has it).

    Raises:
        BadRow: they begin differently.
    """
    chosen, rejected = text(row, "chosen"), text(row, "rejected")
    _refuse_equal(chosen, rejected)
    end = 0
    while end < min(len(chosen), len(rejected)) and chosen[end] == rejected[end]:
        end += 1
    while end and not chosen[end - 1].isspace():
        end -= 1
    if not chosen[:end].strip():
        raise BadRow("has no prompt: 'chosen' and 'rejected' begin differently")
    if not (chosen[end:].strip() and rejected[end:].strip()):
        raise BadRow("one of the answers is the beginning of the other")
    return Pair(
        [user(chosen[:end].rstrip())], [assistant(chosen[end:])], [assistant(rejected[end:])]
    )


def transcripts(row: Row) -> Pair:
    """HH-RLHF (Bai et al. 2022): two transcripts, equal up to their last "Assistant:".

    Raises:
        BadRow: they are no transcripts, or their prompts differ.
    """
    chosen, rejected = (text(row, column) for column in ("chosen", "rejected"))
    (before, better), (other, worse) = _split(chosen, "chosen"), _split(rejected, "rejected")
    if before != other:
        raise BadRow("prompts differ: 'chosen' and 'rejected' part before the last answer")
    return _differing(Pair(_turns(before), [assistant(better)], [assistant(worse)]))


def after_transcript(row: Row) -> Pair:
    """A transcript that ends with "Assistant:", and the two answers that may follow."""
    before = text(row, "prompt").rstrip()
    if before.endswith(ASSISTANT.strip()):
        before = before[: -len(ASSISTANT.strip())].rstrip()
    return _differing(Pair(_turns(before), answer(row, "chosen"), answer(row, "rejected")))


def is_transcript(value: str) -> bool:
    """Whether a text is a conversation in HH-RLHF's form."""
    return "Human:" in value[:20] and ASSISTANT in value and value.lstrip().startswith("Human:")


def _split(transcript: str, column: str) -> tuple[str, str]:
    before, mark, last = transcript.rpartition(ASSISTANT)
    if not mark:
        raise BadRow(f"{column!r} has no {ASSISTANT.strip()!r} after an empty line")
    if not last.strip():
        raise BadRow(f"{column!r} is missing or empty after its last {ASSISTANT.strip()!r}")
    return before, last.removeprefix(" ")


def _turns(transcript: str) -> list[Message]:
    """The messages of a transcript, in which an empty line and a name begin a turn."""
    rest = transcript if transcript.startswith("\n\n") else f"\n\n{transcript.lstrip()}"
    turns: list[Message] = []
    while rest:
        maker, mark = (user, HUMAN) if rest.startswith(HUMAN) else (assistant, ASSISTANT)
        if not rest.startswith(mark):
            raise BadRow(f"the prompt does not begin with {HUMAN.strip()!r}")
        rest = rest[len(mark) :]
        ends = [at for at in (rest.find(HUMAN), rest.find(ASSISTANT)) if at >= 0]
        end = min(ends, default=len(rest))
        turns.append(maker(rest[:end].removeprefix(" ")))
        rest = rest[end:]
    if not turns:
        raise BadRow("has no prompt before the last answer")
    return turns


def _differing(found: Pair) -> Pair:
    _refuse_equal(found.chosen, found.rejected)
    return found


def _refuse_equal(chosen: Any, rejected: Any) -> None:
    if chosen == rejected:
        raise BadRow("'chosen' and 'rejected' are the same text")
