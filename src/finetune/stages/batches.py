"""One effective batch size, split over devices and accumulation."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.ranks import share

# Most rows that go through the model at once: more keep a device no busier.
ROWS_AT_ONCE = {"cpu": 16, "cuda": 16}


@dataclass(frozen=True)
class Split:
    """How one optimizer step's rows are spread."""

    per_device: int
    accumulation: int


def most_rows(device_type: str) -> int:
    """Rows that may go through the model at once on a device."""
    return ROWS_AT_ONCE.get(device_type, ROWS_AT_ONCE["cuda"])


def split(batch_size: int, devices: int, device_type: str, at_once: int | None = None) -> Split:
    """Split `batch_size` rows per optimizer step evenly over the devices, `at_once` at most.

    Raises:
        FinetuneError: the devices cannot share the rows evenly.
    """
    rows = share(batch_size, devices)
    most = min(rows, at_once or most_rows(device_type))
    per_device = next(size for size in range(most, 0, -1) if rows % size == 0)
    return Split(per_device, rows // per_device)
