"""Which of several machines this is, told by the environment that schedulers set."""

from __future__ import annotations

import os
from dataclasses import dataclass

from finetune.errors import FinetuneError

# The first that is set counts: torchrun (and so Kubeflow), Slurm, SkyPilot, by hand.
NAMES = {
    "machines": ("PET_NNODES", "SLURM_NNODES", "SKYPILOT_NUM_NODES", "NNODES"),
    "rank": ("PET_NODE_RANK", "SLURM_NODEID", "SKYPILOT_NODE_RANK", "NODE_RANK"),
    "address": ("PET_MASTER_ADDR", "MASTER_ADDR", "SKYPILOT_NODE_IPS"),
    "port": ("PET_MASTER_PORT", "MASTER_PORT"),
}
PORT = "29400"


@dataclass(frozen=True)
class Machines:
    """How many there are, which one this is, and where the first one listens."""

    machines: int
    rank: int
    address: str
    port: int


def from_environment() -> Machines:
    """What the environment says; one machine where it says nothing.

    Raises:
        FinetuneError: there are several machines, and it is not said which this is or where the
            first one is.
    """
    machines = int(_value("machines") or 1)
    if machines == 1:
        return Machines(1, 0, "127.0.0.1", 0)
    missing = [name for name in ("rank", "address") if not _value(name)]
    if missing:
        told = "; ".join(f"{name}: one of {', '.join(NAMES[name])}" for name in missing)
        raise FinetuneError(
            f"there are {machines} machines, and the environment does not say which this is",
            remedy=f"Set {told}.",
        )
    address = _value("address").split()[0]  # SkyPilot lists all of them, the first one first
    return Machines(machines, int(_value("rank")), address, int(_value("port") or PORT))


def _value(what: str) -> str:
    return next((os.environ[name] for name in NAMES[what] if os.environ.get(name)), "")
