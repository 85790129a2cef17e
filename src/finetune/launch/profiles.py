"""Launch profiles: what `accelerate launch --config_file` reads, found by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from finetune.embedded import profile_folder
from finetune.errors import FinetuneError
from finetune.recipe.problems import near


@dataclass(frozen=True)
class Profile:
    """One file of settings for accelerate, and DeepSpeed's beside it."""

    path: Path
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """As it is asked for."""
        return self.path.stem

    @property
    def alone(self) -> bool:
        """Whether it starts one process."""
        return str(self.settings["distributed_type"]).upper() == "NO"

    @property
    def on_cpu(self) -> bool:
        """Whether it keeps off the accelerators that a machine may have."""
        hidden = str(self.settings.get("gpu_ids", "")).startswith("-1")
        return hidden or bool(self.settings.get("use_cpu"))

    @property
    def deepspeed_file(self) -> Path | None:
        """DeepSpeed's own settings: beside the profile, else as it names them."""
        name = (self.settings.get("deepspeed_config") or {}).get("deepspeed_config_file")
        if not name:
            return None
        beside = self.path.parent / Path(name).name
        return beside if beside.is_file() else Path(name).absolute()

    @property
    def zero_stage(self) -> int:
        """DeepSpeed's stage: which of optimizer, gradients and weights are shared; 0 without."""
        if self.deepspeed_file is None:
            return 0
        settings = json.loads(self.deepspeed_file.read_text("utf-8"))
        return int(settings["zero_optimization"]["stage"])

    def processes(self, machines: int, gpus: int) -> int:
        """How many it starts on so many machines, each with so many GPUs (0: none)."""
        if self.alone:
            return 1
        if gpus and not self.on_cpu:
            return machines * gpus
        return max(machines, int(self.settings.get("num_processes", 1)))  # one at least on each


def names() -> list[str]:
    """The shipped profiles; a job of a cluster is none."""
    return sorted(path.stem for path in profile_folder().glob("*.yaml"))


def find(name: str) -> Profile:
    """A profile: a file as given, else a shipped one such as `zero2`.

    Raises:
        FinetuneError: there is none, it is no mapping with `distributed_type`, or DeepSpeed's file
            is missing.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        path = profile_folder() / f"{name.removesuffix('.yaml')}.yaml"
    if not path.is_file():
        close = near(name, names())
        hint = f"Did you mean {close!r}?" if close else f"There are {', '.join(names())}."
        raise FinetuneError(f"no launch profile {name!r}", remedy=hint)
    try:
        settings = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise FinetuneError(f"cannot be read: {error}", where=str(path)) from error
    if not isinstance(settings, dict) or "distributed_type" not in settings:
        raise FinetuneError(
            "this is no launch profile (no distributed_type)",
            where=str(path),
            remedy=f"Write one with `accelerate config --config_file {path}`, or take a shipped "
            f"one: {', '.join(names())}.",
        )
    found = Profile(path.resolve(), settings)
    if found.deepspeed_file and not found.deepspeed_file.is_file():
        raise FinetuneError(
            f"there is no {found.deepspeed_file}, which this profile names",
            where=str(path),
            remedy="Put DeepSpeed's file beside the profile.",
        )
    return found
