"""How several processes share a model: of a profile, or as this process was launched."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.launch.profiles import Profile


@dataclass(frozen=True)
class Sharing:
    """ZeRO stage (0: no DeepSpeed), FSDP version (0: none), how weights are kept and saved."""

    zero_stage: int = 0
    fsdp: int = 0
    # Whether whole weights come out of ZeRO-3 and FSDP when a model is saved.
    saves_whole: bool = True
    # What ZeRO keeps in the machine's memory rather than on the accelerator.
    offloads_optimizer: bool = False
    offloads_weights: bool = False


def of(profile: Profile) -> Sharing:
    """What a profile does."""
    if profile.deepspeed_file:
        return _of_deepspeed(profile.deepspeed_file)
    if deepspeed := profile.settings.get("deepspeed_config"):
        whole = bool(deepspeed.get("zero3_save_16bit_model"))
        return Sharing(zero_stage=int(deepspeed.get("zero_stage", 2)), saves_whole=whole)
    if profile.settings["distributed_type"] == "FSDP":
        fsdp = profile.settings.get("fsdp_config") or {}
        kind = fsdp.get("fsdp_state_dict_type")
        return Sharing(fsdp=int(fsdp.get("fsdp_version", 1)), saves_whole=_whole(kind))
    return Sharing()


def from_environment() -> Sharing:
    """What accelerate's launcher has told this process."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        if file := os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE"):
            return _of_deepspeed(Path(file))
        whole = os.environ.get("ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL") == "true"
        stage = int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"))
        return Sharing(zero_stage=stage, saves_whole=whole)
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        kind = os.environ.get("FSDP_STATE_DICT_TYPE")
        return Sharing(fsdp=int(os.environ.get("FSDP_VERSION", "1")), saves_whole=_whole(kind))
    return Sharing()


def _of_deepspeed(file: Path) -> Sharing:
    zero: dict[str, Any] = json.loads(file.read_text("utf-8")).get("zero_optimization", {})
    whole = bool(zero.get("stage3_gather_16bit_weights_on_model_save"))
    return Sharing(
        zero_stage=int(zero.get("stage", 0)),
        saves_whole=whole,
        offloads_optimizer=_offloads(zero, "offload_optimizer"),
        offloads_weights=_offloads(zero, "offload_param"),
    )


def _offloads(zero: dict[str, Any], part: str) -> bool:
    return (zero.get(part) or {}).get("device", "none") != "none"


def _whole(kind: str | None) -> bool:
    return kind == "FULL_STATE_DICT"
