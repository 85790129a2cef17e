"""What every stage of a plan will take: memory by part, time, and what would save memory.

The work is done where torch is imported, in a process of its own; the answers are plain data,
kept by content, so that asking again takes no time.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from finetune import __version__, console, ranks
from finetune.chain import child
from finetune.chain.files import write_json
from finetune.chain.plan import Plan
from finetune.chain.provenance import versions
from finetune.launch import sharing
from finetune.launch.sharing import Sharing
from finetune.memory.machine import Machine, available, named

# A core's float32 FLOP/s with wide vectors, and a processor's bytes a second: what is usual.
CORE_FLOPS = 1e11
CPU_BANDWIDTH = 1e10


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a plan runs: the device of each process, how many there are, and how they share."""

    machine: Machine
    processes: int = 1
    sharing: Sharing = field(default_factory=Sharing)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Of one stage: bytes by part at its peak; `why` where it cannot be told."""

    stage: str
    parts: dict[str, int] = field(default_factory=dict)
    batch: str = ""
    seconds: float = 0.0
    told_by: str = ""  # what the time is taken from
    assumed: bool = False  # whether it is not known here how many rows there are
    savings: dict[str, int] = field(default_factory=dict)  # bytes, by the setting that saves them
    notes: tuple[str, ...] = ()
    why: str = ""

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.parts.values())


def here() -> Machine:
    """This machine: its GPU if it has one, else its processor and what memory is free."""
    return _in_child(device) if child.has_accelerator() else processor()


def device() -> Machine:
    """The GPU of this process, which imports torch for that, or the processor."""
    import torch

    if not torch.cuda.is_available():
        return processor()
    about = torch.cuda.get_device_properties(0)
    return replace(named(about.name), name=about.name, memory=about.total_memory)


def processor() -> Machine:
    """What is free of this machine's memory, for each of the processes that share it."""
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cores = int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // beside))
    free = (available() or 0) // beside
    return Machine("this machine", free, cores * CORE_FLOPS, CPU_BANDWIDTH, "cpu")


def place() -> Place:
    """Where this process runs, among those that were launched with it."""
    shared = sharing.from_environment()
    return Place(machine=device(), processes=ranks.world_size(), sharing=shared)


def told(plan: Plan, place: Place, *, savings: bool = False) -> list[Forecast]:
    """The forecasts of a plan's stages that are still to run, from before where nothing changed.

    Raises:
        FinetuneError: they could not be made.
    """
    cache = _cache(plan, place, savings)
    with suppress(OSError, ValueError, TypeError, KeyError):
        return [_from_json(each) for each in json.loads(cache.read_text("utf-8"))]
    console.say("memory: a step of each stage is run without numbers")
    from finetune.chain.foresee import forecasts

    found: list[Forecast] = _in_child(forecasts, plan, place, savings)
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_json(cache, [asdict(each) for each in found])
    return found


def _in_child(function: Any, *args: Any) -> Any:
    with TemporaryDirectory() as folder:
        reply = child.call(function, *args, folder=Path(folder), trace=Path(folder) / "error.txt")
    if reply.error:
        raise reply.error
    return reply.value


def _cache(plan: Plan, place: Place, savings: bool) -> Path:
    """Named by all that decides: a stage's key has its settings, its data and its base in it."""
    rounded = place.machine.memory // 10**9  # what is free changes all the time
    machine = replace(place.machine, memory=rounded)
    decides = [
        (__version__, versions(), savings),
        [(step.stage.name, step.keyed.key, step.status) for step in plan.steps],
        asdict(replace(place, machine=machine)),
    ]
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "finetune" / "plans" / f"{key[:32]}.json"


def _from_json(data: dict[str, Any]) -> Forecast:
    return Forecast(**{**data, "notes": tuple(data["notes"])})
