"""Whether a base fits into memory and the results onto the disk; least estimates, not plans.

What is refused here cannot work; what passes may still be too large for its batch.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
from pathlib import Path

from finetune import ranks
from finetune.chain.inputs import base_files, base_path
from finetune.chain.mishap import full
from finetune.errors import FinetuneError, StoreError
from finetune.recipe.types import Base, Dpo, Merge, Pretrain, Sft, Stage

WEIGHTS = {".safetensors", ".bin"}
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1}
CHOSEN = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
LEAST_DISK = 20_000_000


def check_memory(base: Base) -> None:
    """Refuse a base whose weights alone are larger than the memory they go to."""
    needed, available = weights_in_memory(base), _memory()
    if available is None or needed <= available:
        return
    raise FinetuneError(
        f"its weights need at least {_gb(needed)}, and there are {_gb(available)} of memory",
        where=f"base.model: {base.model}",
        remedy="Load it in 4 bits (base.quantization: {load_in_4bit: true}), in a smaller type "
        "(base.dtype), or take a smaller base.",
    )


def check_disk(folder: Path, base: Base, stages: list[Stage]) -> None:
    """Refuse to start what cannot be written."""
    needed = sum(_written(stage, base) for stage in stages)
    free = shutil.disk_usage(folder).free
    if needed > free:
        remedy = full(folder).remedy
        raise StoreError(
            f"the models to write need about {_gb(needed)}, and {_gb(free)} are free",
            where=str(folder),
            remedy=remedy,
        )


def weights_in_memory(base: Base) -> int:
    """Least number of bytes of a local base when it is loaded; 0 when it is not known."""
    quantization = base.quantization or {}
    if quantization.get("load_in_4bit"):
        width: float | None = 0.5
    elif quantization.get("load_in_8bit"):
        width = 1.0
    else:
        width = CHOSEN.get(base.dtype)
    return sum(_weight_bytes(file, width) for file in _weight_files(base))


def _written(stage: Stage, base: Base) -> int:
    whole = isinstance(stage, Merge | Pretrain) or (
        isinstance(stage, Sft | Dpo) and stage.lora is None and base.quantization is None
    )
    if isinstance(stage, Dpo) or not whole:
        return LEAST_DISK  # an adapter is small; whether DPO has one, the stage before decides
    return LEAST_DISK + sum(_weight_bytes(file, 2.0) for file in _weight_files(base))


def _weight_files(base: Base) -> list[Path]:
    folder = base_path(base)
    files = [file for file in base_files(folder) if file.suffix in WEIGHTS] if folder else []
    kinds = {file.suffix for file in files}
    # A folder may hold its weights in both formats; one is loaded.
    return [file for file in files if file.suffix == ".safetensors"] if len(kinds) > 1 else files


def _weight_bytes(file: Path, width: float | None) -> int:
    """Bytes of a file's weights at `width` bytes each; None: as they are stored."""
    size = file.stat().st_size
    if width is None:
        return size
    if file.suffix == ".safetensors" and (stored := _header(file)):
        return int(sum(min(width, own) * count for own, count in stored))
    return int(size * min(1.0, width / 4))  # stored in at most 4 bytes each


def _header(file: Path) -> list[tuple[int, int]]:
    """Stored width and number of elements of every tensor."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, 100_000_000)))
        return [
            (WIDTHS.get(each["dtype"], 1), _product(each["shape"]))
            for name, each in header.items()
            if name != "__metadata__"
        ]
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return []


def _product(shape: list[int]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def _memory() -> int | None:
    """Memory that weights may fill: of the accelerators if there are any, else of the machine."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        total = sum(torch.cuda.get_device_properties(each).total_memory for each in devices)
        # Sharded weights may lie on every machine, and partly in the memory beside the GPU.
        return total * _machines() + (_available() or 0) if _sharded() else total
    copies = 1 if _sharded() else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    available = _available()
    return available // copies if available else None


def _machines() -> int:
    return max(1, ranks.world_size() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _sharded() -> bool:
    return bool({"ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP"} & set(os.environ))


def _available() -> int | None:
    """What Linux says is free for use, swap included, within the container's limit."""
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        system = sum(int(fields[name].split()[0]) * 1024 for name in ("MemAvailable", "SwapFree"))
    except (OSError, ValueError, KeyError):
        return None
    try:
        return min(system, int(Path("/sys/fs/cgroup/memory.max").read_text("utf-8")))
    except (OSError, ValueError):
        return system


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
