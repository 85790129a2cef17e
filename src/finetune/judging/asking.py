"""Questions to replies: from the cache where they are, and once more where the form is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from finetune.judging.cache import Cache, Messages


class Judging(Protocol):
    """Someone to ask."""

    def replies(self, asked: Sequence[Messages], title: str) -> Iterator[tuple[int, str]]:
        """(index, reply) of each, in whatever order they come.

        Raises:
            FinetuneError: no reply can be had.
        """
        ...


@dataclass(frozen=True)
class Replied:
    """All that was replied to each question, and how many replies had to be asked for."""

    replies: list[list[str]]
    asked: int
    kept: int


def ask(
    judge: Judging,
    questions: Sequence[str],
    *,
    has_form: Callable[[str], bool],
    reminder: str,
    cache: Cache,
    title: str,
) -> Replied:
    """One reply to each question; a second one where the first does not have the form.

    The same question is asked once. Raises what the judge raises; what came before is kept.
    """
    threads = {each: [_user(each)] for each in dict.fromkeys(questions)}
    asked = _fill(judge, list(threads.values()), cache, title)
    found = {each: [_kept(cache, thread)] for each, thread in threads.items()}
    again = {
        each: [*threads[each], {"role": "assistant", "content": reply}, _user(reminder)]
        for each, (reply,) in found.items()
        if not has_form(reply)
    }
    asked += _fill(judge, list(again.values()), cache, f"{title}, again")
    for each, thread in again.items():
        found[each].append(_kept(cache, thread))
    total = len(threads) + len(again)
    return Replied([found[each] for each in questions], asked, total - asked)


def _fill(judge: Judging, threads: Sequence[Messages], cache: Cache, title: str) -> int:
    """Ask what the cache does not know; how much that was."""
    unknown = [thread for thread in threads if cache.get(thread) is None]
    if unknown:
        for index, reply in judge.replies(unknown, title):
            cache.put(unknown[index], reply)
    return len(unknown)


def _kept(cache: Cache, thread: Messages) -> str:
    reply = cache.get(thread)
    assert reply is not None, "a judge replies to everything or raises"
    return reply


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}
