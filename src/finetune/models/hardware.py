"""What this process runs on, and the number format that follows from it."""

from __future__ import annotations

import os

import torch

from finetune.ranks import keep_to_cpu


def device() -> torch.device:
    """The accelerator of this rank, or the CPU."""
    if torch.cuda.is_available() and not keep_to_cpu():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def on_cpu() -> bool:
    """Whether there is no accelerator."""
    return device().type == "cpu"


def half() -> torch.dtype | None:
    """The 16-bit format that the accelerator computes in; None on a CPU.

    NVIDIA's before Ampere (T4, V100) have float16 alone. torch calls bfloat16 supported there too,
    since it emulates it, many times slower.
    """
    if on_cpu():
        return None
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16


def dtype(name: str) -> torch.dtype:
    """Of weights: `auto` is bfloat16 where the accelerator has it, and float32 elsewhere.

    A CPU computes bfloat16 slowly and rounds each step; the exact numbers are worth more there.
    Training in float16 scales the loss, for which trained weights have to be in float32.
    """
    if name == "auto":
        return torch.bfloat16 if half() is torch.bfloat16 else torch.float32
    return getattr(torch, name)


def compute_dtype(name: str) -> torch.dtype:
    """Of products with weights in 4 bits: `auto` is what the accelerator computes fastest in."""
    return half() or torch.float32 if name == "auto" else dtype(name)


def peak_memory() -> int:
    """Most bytes this process has held: on the accelerator if there is one, else resident."""
    if not on_cpu():
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
