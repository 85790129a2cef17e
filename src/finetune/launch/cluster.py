"""A run as a job of a cluster: what all of them are told; one file per scheduler renders it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from finetune.errors import FinetuneError
from finetune.launch.profiles import Profile, find

# Times that a job is brought back: after a lost machine, a killed process, the end of its time.
RESTARTS = 3
WORKSPACE = "/workspace"  # where shared storage lies in containers and on rented machines


@dataclass(frozen=True, kw_only=True)
class ClusterJob:
    """A recipe and the machines to run it on."""

    name: str
    written_by: str  # the command line, so that the file can be written anew
    recipe: str  # as it is named where the job runs: a file, or a shipped recipe
    changes: tuple[str, ...] = ()
    profile: str
    nodes: int = 1
    gpus: int = 1  # of each machine
    gpu: str = "H100"
    image: str = ""  # of a container, with finetune in it
    install: str = ""  # the command that puts finetune onto a bare machine
    storage: str = "finetune"  # a volume claim, or a bucket

    def words(self, *more: str) -> list[str]:
        """The command that every machine runs; each finds out itself which one it is."""
        launch = ["--launch", self.profile]
        return ["finetune", "run", self.recipe, *launch, *self.changes, *more]

    def command(self, *more: str) -> str:
        """The command as a line of shell."""
        return shlex.join(self.words(*more))


def profile_for(name: str | None, nodes: int, gpus: int) -> Profile:
    """The profile of that name, or the one for so many machines and GPUs.

    Raises:
        FinetuneError: there is no such profile, or it cannot use these machines.
    """
    if nodes < 1 or gpus < 0:
        raise FinetuneError(
            f"there is no job on {nodes} machines with {gpus} GPUs",
            remedy="Give --nodes of at least 1 and --gpus of at least 0.",
        )
    found = find(name or _profile(nodes, gpus))
    _fits(found, nodes, gpus)
    return found


def job_name(recipe: str) -> str:
    """A name that all schedulers take: lower-case words and hyphens (RFC 1123, 50 characters)."""
    return re.sub(r"[^a-z0-9]+", "-", recipe.lower()).strip("-")[:50] or "finetune"


def _profile(nodes: int, gpus: int) -> str:
    if gpus == 0:
        return "cpu"
    if nodes > 1:
        return "multi_node"
    return "gpu" if gpus == 1 else "multi_gpu"


def _fits(profile: Profile, nodes: int, gpus: int) -> None:
    if profile.alone and nodes * max(gpus, 1) > 1:
        raise FinetuneError(
            f"the profile {profile.name!r} is one process, and there would be {nodes} machines "
            f"with {gpus} GPUs",
            remedy="Take --profile multi_gpu, zero2 or zero3; multi_node for several machines.",
        )
    if profile.settings.get("num_machines", 1) > 1 and nodes == 1:
        raise FinetuneError(
            f"the profile {profile.name!r} is for several machines, and there would be one",
            remedy="Give --nodes, or take --profile multi_gpu.",
        )
    if gpus == 0 and not profile.on_cpu and profile.deepspeed_file is None:
        raise FinetuneError(
            f"the profile {profile.name!r} needs GPUs",
            remedy="Give --gpus, or take --profile cpu_2.",
        )
