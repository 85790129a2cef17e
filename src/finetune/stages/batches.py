"""One effective batch size, split over devices and accumulation."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.errors import FinetuneError

# Rows that go through the model at once. On a CPU more rows keep the cores busy; on an
# accelerator activations of a large model at full length must fit.
ROWS_AT_ONCE = {"cpu": 16, "cuda": 4}


@dataclass(frozen=True)
class Split:
    """How one optimizer step's rows are spread."""

    per_device: int
    accumulation: int


def split(batch_size: int, devices: int, device_type: str) -> Split:
    """Split `batch_size` rows per optimizer step evenly over the devices.

    Raises:
        FinetuneError: the devices cannot share the rows evenly.
    """
    if batch_size % devices:
        lower = max(1, batch_size // devices) * devices
        raise FinetuneError(
            f"batch_size {batch_size} does not divide over {devices} processes",
            remedy=f"Nearest that do: {lower} and {lower + devices}.",
        )
    rows = batch_size // devices
    most = ROWS_AT_ONCE.get(device_type, ROWS_AT_ONCE["cuda"])
    per_device = next(size for size in range(min(rows, most), 0, -1) if rows % size == 0)
    return Split(per_device, rows // per_device)
