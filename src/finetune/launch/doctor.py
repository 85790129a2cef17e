"""What this machine can run: every part with its state, and the one command that mends it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finetune.launch import network, profiles
from finetune.launch.versions import compilers_missing, libraries

GB = 1e9
LITTLE_DISK = 10 * GB  # a 7B model in half precision, merged
LEAST_DISK = 1 * GB
# Packages that are used where they are installed: module, what is gained, and the command.
KERNELS = {
    "flash-attn": (
        "flash_attn",
        "attention that skips padding (from Ampere on)",
        "pip install flash-attn --no-build-isolation",
    ),
    "liger-kernel": (
        "liger_kernel",
        "faster norms, rotary positions and gates in training",
        "pip install liger-kernel",
    ),
}
LITTLE_SHARED_MEMORY = 1 * GB  # containers start with 64 MB, too little for NCCL
DRIVER = Path("/proc/driver/nvidia/version")
LEAST_DRIVER = {"12": "525", "13": "580"}  # of a major CUDA, by NVIDIA's release notes for Linux


@dataclass(frozen=True)
class Finding:
    """One part: `missing` stops runs, `warn` is worth knowing, `ok` is as it should be."""

    part: str
    status: Literal["ok", "warn", "missing"]
    what: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at every part; one that cannot be looked at is reported, not raised."""
    findings: list[Finding] = []
    for look in LOOKS:
        try:
            findings += look()
        except Exception as error:  # a broken library may raise anything on import
            name = look.__name__.strip("_")
            text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            findings.append(Finding(name, "missing", text, "Install this library anew."))
    return findings


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    remedy = "" if fits else "Make an environment with Python 3.12: python3.12 -m venv .venv"
    yield Finding("python", "ok" if fits else "missing", f"{version} in {sys.prefix}", remedy)


def _libraries() -> Iterator[Finding]:
    found = libraries()
    good = [each for each in found if each.as_tested]
    if good:
        names = ", ".join(f"{each.name} {each.version}" for each in good)
        yield Finding("libraries", "ok", f"as tested: {names}")
    for each in found:
        if not each.version:
            yield Finding(each.name, "missing", "not installed", f"pip install '{each.wanted}'")
        elif not each.fits:
            what = f"{each.version}, and finetune needs {each.wanted}"
            yield Finding(each.name, "missing", what, f"pip install '{each.wanted}'")
        elif not each.as_tested:
            what = f"{each.version}; tested with {each.tested}"
            yield Finding(each.name, "warn", what, f"pip install {each.name}=={each.tested}")


def _device() -> Iterator[Finding]:
    import torch

    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        half = "bfloat16" if about.major >= 8 else "no bfloat16"
        what = f"{about.name}, {about.total_memory / GB:.0f} GB, {half} (cuda:{index})"
        yield Finding("device", "ok", what)
    if torch.cuda.is_available():
        yield Finding("cuda", "ok", f"torch is built with {torch.version.cuda}; driver {_driver()}")
        return
    what = f"CPU, {os.cpu_count()} cores, {_memory() / GB:.0f} GB; no GPU that torch can use"
    if not _nvidia_files():
        yield Finding("device", "ok", what)
    elif torch.version.cuda is None:
        what = "a GPU is here, and this torch is built without CUDA"
        yield Finding("device", "warn", what, "pip install --force-reinstall torch")
    else:
        what = f"a GPU is here, and CUDA {torch.version.cuda} does not start (driver {_driver()})"
        yield Finding("device", "warn", what, _newer_driver(torch.version.cuda))


def _nvidia_files() -> bool:
    return any(Path(f"/dev/{name}").exists() for name in ("nvidia0", "nvidiactl", "dxg"))


def _driver() -> str:
    """The version of NVIDIA's driver, as the kernel tells it."""
    try:
        text = DRIVER.read_text("utf-8")
    except OSError:
        return "unknown"
    found = re.search(r"\b\d+\.\d+(\.\d+)?\b", text)
    return found[0] if found else "unknown"


def _newer_driver(cuda: str) -> str:
    """What to do where CUDA does not start."""
    least = LEAST_DRIVER.get(cuda.partition(".")[0])
    needs = f"CUDA {cuda} needs a driver of {least} or later; " if least else ""
    return f"{needs}`nvidia-smi` tells what the driver runs, pytorch.org has torch for older CUDAs"


def _memory() -> float:
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return float("nan")


def _four_bits() -> Iterator[Finding]:
    """One product with weights in 4 bits against the same weights unpacked."""
    # On import it asks for an optional package that is of no use here.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import bitsandbytes as bnb
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    layer = bnb.nn.Linear4bit(64, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    layer = layer.to(device)
    rows = torch.randn(4, 64, device=device)
    packed: Any = layer.weight
    weights = bnb.functional.dequantize_4bit(packed.data, packed.quant_state)
    with torch.no_grad():
        gap = (layer(rows) - rows @ weights.float().T).abs().max().item()
    exact = gap < 1e-2
    what = f"bitsandbytes multiplies on {device}, {gap:.0e} from the unpacked weights"
    remedy = "" if exact else "pip install --force-reinstall bitsandbytes"
    yield Finding("4 bits", "ok" if exact else "missing", what, remedy)


def _deepspeed() -> Iterator[Finding]:
    if importlib.util.find_spec("deepspeed") is None:
        remedy = "pip install 'deepspeed>=0.19.8,<0.20'"
        yield Finding("deepspeed", "warn", "not installed: no zero1, zero2, zero3", remedy)
        return
    version = importlib.metadata.version("deepspeed")
    if tools := compilers_missing():
        what = f"{version}; without {' and '.join(tools)} no zero3_offload, which compiles"
        yield Finding("deepspeed", "warn", what, f"apt-get install {' '.join(tools)}")
    else:
        yield Finding("deepspeed", "ok", f"{version}, with a compiler")


def _kernels() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        yield Finding("kernels", "ok", "none is of use on a CPU")
        return
    for package, (module, gain, install) in KERNELS.items():
        if importlib.util.find_spec(module) is None:
            yield Finding(package, "warn", f"not installed, and not needed: {gain}", install)
            continue
        try:
            importlib.import_module(module)
            yield Finding(package, "ok", f"{importlib.metadata.version(package)}: {gain}")
        except Exception as error:  # built for another torch, mostly; runs go without it
            what = f"does not load: {(str(error).splitlines() or [type(error).__name__])[0]}"
            yield Finding(package, "warn", what, f"{install} --force-reinstall --no-deps")


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    status: Literal["ok", "warn", "missing"] = "ok" if free > LITTLE_DISK else "warn"
    if free < LEAST_DISK:
        status = "missing"
    remedy = "" if status == "ok" else "Give a folder on another disk with output_dir=..."
    yield Finding("disk", status, f"{free / GB:.0f} GB free in {Path.cwd()}", remedy)


def _shared_memory() -> Iterator[Finding]:
    import torch

    folder = Path("/dev/shm")
    if torch.cuda.device_count() < 2 or not folder.is_dir():
        return
    size = shutil.disk_usage(folder).total
    status: Literal["ok", "warn"] = "ok" if size >= LITTLE_SHARED_MEMORY else "warn"
    remedy = "" if status == "ok" else "Start the container with --ipc=host or --shm-size=8g"
    yield Finding("shared memory", status, f"{size / GB:.1f} GB, where GPUs meet", remedy)


def _hub() -> Iterator[Finding]:
    reached, what = network.hub()
    remedy = "" if reached else "Copy bases and data here, and set HF_HUB_OFFLINE=1"
    yield Finding("hub", "ok" if reached else "warn", what, remedy)
    yield Finding("hub cache", "ok", network.cache())


def _launch() -> Iterator[Finding]:
    import torch

    gpus = torch.cuda.device_count()
    deepspeed = importlib.util.find_spec("deepspeed") is not None
    usable = [each.name for each in map(profiles.find, profiles.names()) if _runs(each, gpus)]
    names = [name for name in usable if deepspeed or not name.startswith("zero")]
    yield Finding("--launch", "ok", ", ".join(names))


def _runs(profile: profiles.Profile, gpus: int) -> bool:
    if profile.on_cpu or profile.deepspeed_file:
        return True
    return gpus >= (1 if profile.alone or profile.name == "multi_node" else 2)


LOOKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _libraries,
    _device,
    _four_bits,
    _deepspeed,
    _kernels,
    _disk,
    _shared_memory,
    _hub,
    _launch,
)
