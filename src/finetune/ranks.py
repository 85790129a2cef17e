"""Which of the launched processes this is; read from the launcher's environment, no torch."""

from __future__ import annotations

import os

from finetune.errors import FinetuneError


def rank() -> int:
    """Position of this process among all that the launcher started (0 without a launcher)."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes the launcher started (1 without a launcher)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def share(batch_size: int, processes: int, where: str = "") -> int:
    """Rows of each process in a step of `batch_size`.

    Raises:
        FinetuneError: they cannot share the rows evenly.
    """
    if batch_size % processes:
        raise FinetuneError(
            f"batch_size {batch_size} does not divide over {processes} processes",
            where=where,
            remedy=nearest(batch_size, processes),
        )
    return batch_size // processes


def nearest(number: int, processes: int, each: int = 1) -> str:
    """The numbers next to this one that the processes can share evenly, as a remedy.

    A setting may count something smaller, of which every one of these holds `each`.
    """
    lower = max(1, number // processes) * processes
    return f"Nearest that do: {lower * each} and {(lower + processes) * each}."


def keep_to_cpu() -> bool:
    """Whether the launcher was told to leave accelerators alone (accelerate's `use_cpu`)."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1", "yes")


def is_main() -> bool:
    """Whether this process speaks and writes for all."""
    return rank() == 0
