"""Many texts to token ids: the tokenizer's own rules, in threads, a few batches ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from finetune.errors import FinetuneError

BATCH_ROWS = 500
BATCH_CHARACTERS = 1_000_000  # of long rows fewer go together
T = TypeVar("T")
R = TypeVar("R")


def encoder(tokenizer: Any) -> Any:
    """The `tokenizers.Tokenizer` without its last step, which cuts spaces out of places.

    Raises:
        FinetuneError: the tokenizer is none of that library.
    """
    from tokenizers import Tokenizer

    if not getattr(tokenizer, "is_fast", False):
        raise FinetuneError(
            "the tokenizer is not a fast one, so characters cannot be told from its tokens",
            where=str(tokenizer.name_or_path),
            remedy="Take a base with a tokenizer.json.",
        )
    tokenizer("", add_special_tokens=False)  # leaves no padding or truncation behind
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.encode_special_tokens = tokenizer.backend_tokenizer.encode_special_tokens
    copy.post_processor = None
    return copy


def batches(items: Iterable[T], text: Callable[[T], str]) -> Iterator[list[T]]:
    """Items in lists that are worth a thread's while and take little memory."""
    batch: list[T] = []
    characters = 0
    for item in items:
        batch.append(item)
        characters += len(text(item))
        if len(batch) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def ahead(work: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Each item with what `work` makes of it, in order; threads work on the next ones.

    Threads of ours, since the tokenizer's own do not survive a fork, and stages are forked.
    """
    threads = _threads()
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[T, Future[R]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > threads:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


def _threads() -> int:
    """This process's share of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
