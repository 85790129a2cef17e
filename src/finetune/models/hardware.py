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


def dtype(name: str) -> torch.dtype:
    """`auto` is bfloat16 where the accelerator has it, and float32 elsewhere.

    A CPU computes bfloat16 slowly and rounds each step; the exact numbers are worth more there.
    """
    if name == "auto":
        name = "bfloat16" if not on_cpu() and torch.cuda.is_bf16_supported() else "float32"
    return getattr(torch, name)


def peak_memory() -> int:
    """Most bytes this process has held: on the accelerator if there is one, else resident."""
    if not on_cpu():
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
