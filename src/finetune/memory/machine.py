"""What a stage runs on: this machine, or a GPU by its name. Plain numbers, no torch."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finetune.errors import FinetuneError
from finetune.recipe.problems import near

MIB = 2**20
Half = Literal["bfloat16", "float16"]


@dataclass(frozen=True)
class Machine:
    """One device: bytes it has, dense half-precision FLOP/s, bytes it reads a second."""

    name: str
    memory: int
    flops: float
    bandwidth: float
    kind: str = "cuda"
    half: Half = "bfloat16"  # NVIDIA's before Ampere compute in float16 alone
    mfu: float = 0.4  # share of the FLOP/s that training reaches

    @property
    def on_cpu(self) -> bool:
        """Whether there is no accelerator."""
        return self.kind == "cpu"


# MiB as nvidia-smi shows them; TFLOP/s in half precision, without sparsity, added up in float32;
# GB/s of memory: NVIDIA's data sheets and architecture papers of each.
_GPUS: dict[str, tuple[int, float, float]] = {
    "b200": (183_359, 2250, 8000),
    "h200": (143_771, 989, 4800),
    "h100": (81_559, 989, 3350),
    "a100": (81_920, 312, 2039),
    "a100-40g": (40_960, 312, 1555),
    "l40s": (46_068, 362, 864),
    "a6000": (49_140, 155, 768),
    "a10g": (23_028, 70, 600),
    "l4": (23_034, 121, 300),
    "rtx5090": (32_607, 209, 1792),
    "rtx4090": (24_564, 165, 1008),
    "rtx3090": (24_576, 71, 936),
    "v100": (16_384, 125, 900),
    "v100-32g": (32_768, 125, 900),
    "t4": (15_360, 65, 320),
}


def gpu(name: str) -> Machine:
    """A GPU by the name that people give it.

    Raises:
        FinetuneError: none of this name is known.
    """
    known = name.lower().replace("_", "-").replace("nvidia-", "")
    if known not in _GPUS:
        close = near(known, list(_GPUS))
        hint = f"Did you mean {close!r}?" if close else f"There are {', '.join(_GPUS)}."
        raise FinetuneError(f"no GPU {name!r}", where="--gpu", remedy=hint)
    mib, tera, giga = _GPUS[known]
    half: Half = "float16" if known.startswith(("v100", "t4")) else "bfloat16"
    return Machine(known, mib * MIB, tera * 1e12, giga * 1e9, half=half)


def named(device: str) -> Machine:
    """A GPU by the name that its driver gives it; of one that is not known, an A100's speed."""
    words = device.lower().replace("geforce ", "").replace("rtx ", "rtx")
    found = [name for name in _GPUS if name.partition("-")[0] in words.replace("-", " ").split()]
    return gpu(found[0] if found else "a100")


def available() -> int | None:
    """Bytes that Linux says are free for use, swap included, within the container's limit."""
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


# Pages of the libraries' code that a stage touches; forked processes map them anew.
CODE = 60_000_000
# What CUDA's context and kernels take beside tensors.
CONTEXT = 600_000_000


@functools.cache
def libraries(on_cpu: bool) -> int:
    """Bytes a stage's process has before its model; ask once torch and TRL are imported.

    On Linux they are looked up in this process, elsewhere taken to be 0.4 GB.
    """
    if not on_cpu:
        return CONTEXT
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        own = next(line for line in lines if line.startswith("RssAnon"))
        return int(own.split()[1]) * 1024 + CODE
    except (OSError, StopIteration, ValueError):
        return 400_000_000
