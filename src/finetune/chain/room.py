"""Whether a base fits into memory and the results onto the disk; least estimates, not plans.

What is refused here cannot work; what passes may still be too large for its batch.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from pathlib import Path

from finetune import ranks
from finetune.chain.inputs import base_path
from finetune.chain.mishap import full
from finetune.chain.weights import read_header
from finetune.errors import FinetuneError, StoreError
from finetune.memory.machine import available as _available
from finetune.recipe.tuning import MERGE, Tuned, rewrites
from finetune.recipe.types import Base, Export, Merge, Pretrain, Sft, Stage
from finetune.sizes import size_text

FLOATS = {"F64", "F32", "F16", "BF16"}
WIDTHS = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
# Bytes of a weight in what an export writes; safetensors of a merged model share its files.
EXPORTED = {
    **{"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 1.06, "q5_1": 0.75, "q5_0": 0.69},
    **{"q4_1": 0.63, "q4_0": 0.56, "bnb4": 0.52},
}
LEAST_DISK = 20_000_000


def check_memory(base: Base) -> None:
    """Refuse a base whose weights alone are larger than the memory they go to."""
    needed, available = weights_in_memory(base), memory()
    if available is None or needed <= available:
        return
    raise FinetuneError(
        f"its weights need at least {size_text(needed)}, "
        f"and there are {size_text(available)} of memory",
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
            f"the models to write need about {size_text(needed)}, and {size_text(free)} are free",
            where=str(folder),
            remedy=remedy,
        )


def weights_in_memory(base: Base) -> int:
    """Least number of bytes of a local base when it is loaded; 0 when it is not known."""
    quantization = base.quantization or {}
    if quantization.get("load_in_4bit"):
        width = 0.5
    elif quantization.get("load_in_8bit"):
        width = 1.0
    else:
        # `auto` computes in full precision on a CPU, in half on an accelerator.
        width = WIDTHS.get(base.dtype, 2.0 if _has_gpu() else 4.0)
    return _weights(base, width)


def _written(stage: Stage, base: Base) -> int:
    if isinstance(stage, Export):
        kinds = (*stage.formats, *(stage.gguf if "gguf" in stage.formats else ()))
        return LEAST_DISK + _weights(base, sum(EXPORTED.get(kind, 0.0) for kind in kinds))
    return LEAST_DISK + (_weights(base, 2.0) if _writes_whole(stage, base) else 0)


def _writes_whole(stage: Stage, base: Base) -> bool:
    """Whether a stage writes a whole model; of DPO, the stage before decides what it trains."""
    if isinstance(stage, Tuned) and (
        stage.lora == MERGE or (base.quantization and rewrites(stage))
    ):
        return True  # a base of its own
    if isinstance(stage, Sft):
        return stage.lora is None and stage.peft is None and not base.quantization
    return isinstance(stage, Merge | Pretrain)


def _weights(base: Base, width: float) -> int:
    """Bytes of a local base's weights at `width` bytes each."""
    folder = base_path(base)
    files = folder.glob("*.safetensors") if folder else ()
    return sum(_weight_bytes(file, width) for file in files)


def _weight_bytes(file: Path, width: float) -> int:
    """Bytes of a file's weights; what is stored as whole numbers stays so. 0 if unreadable."""
    try:
        tensors = read_header(file)[0].values()
        return int(
            sum(
                width * math.prod(each["shape"])
                if each["dtype"] in FLOATS
                else each["data_offsets"][1] - each["data_offsets"][0]
                for each in tensors
            )
        )
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def memory() -> int | None:
    """Memory that weights may fill: of the accelerators if there are any, else of the machine."""
    torch = sys.modules.get("torch")
    if torch is not None and _has_gpu():
        devices = range(torch.cuda.device_count())
        total = sum(torch.cuda.get_device_properties(each).total_memory for each in devices)
        # Sharded weights may lie on every machine, and partly in the memory beside the GPU.
        return total * _machines() + (_available() or 0) if _sharded() else total
    copies = 1 if _sharded() else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    available = _available()
    return available // copies if available else None


def _has_gpu() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_available()


def _machines() -> int:
    return max(1, ranks.world_size() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _sharded() -> bool:
    return bool({"ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP"} & set(os.environ))
