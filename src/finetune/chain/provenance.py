"""On what a stage was made: versions, machine, commit. No arguments, no environment: no secrets."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
import sys
from typing import Any

LIBRARIES = [
    *("finetune", "torch", "transformers", "trl", "peft", "bitsandbytes", "datasets"),
    *("accelerate", "evaluate", "deepspeed", "tokenizers", "safetensors", "numpy"),
    *("flash-attn", "liger-kernel"),
]


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the installed libraries that can change a result."""
    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def changed(before: dict[str, str]) -> list[str]:
    """Libraries whose version is another one now."""
    now = versions()
    return [
        f"{name} {before[name]} (now {now.get(name, 'not installed')})"
        for name in before
        if before[name] != now.get(name)
    ]


@functools.cache  # as it was when the run started
def machine() -> dict[str, Any]:
    """Python, system and commit."""
    return {
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **_git(),
    }


def device() -> str:
    """Name of what computed; read after a stage, so torch is there if it was used."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return platform.processor() or platform.machine()


def peak_memory() -> dict[str, int]:
    """Largest use of memory of this process, in bytes."""
    peak: dict[str, int] = {}
    try:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        peak["ram"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    except ImportError:
        pass
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        peak["gpu"] = int(torch.cuda.max_memory_allocated())
    return peak


def _git() -> dict[str, Any]:
    """Commit of the current folder, and whether files differ from it."""
    try:
        commit = _run("git", "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_run("git", "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {}


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
