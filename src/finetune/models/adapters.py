"""LoRA adapters: put on a base, kept in full precision, read back."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import set_seed

from finetune.errors import FinetuneError
from finetune.models.distributed import one_format
from finetune.models.load import empty_model
from finetune.recipe.types import Base, Settings


def lora_config(settings: Settings) -> LoraConfig:
    """PEFT's own config; `target_modules` defaults to every linear layer but the head.

    Raises:
        FinetuneError: PEFT refuses the settings.
    """
    try:
        return LoraConfig(task_type="CAUSAL_LM", **{"target_modules": "all-linear", **settings})
    except (TypeError, ValueError) as error:
        raise FinetuneError(str(error), where="lora") from error


# What of LoRA's settings decides where adapters go.
PLACES = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")


def check_places(base: Base, settings: Settings) -> None:
    """Find the layers that an adapter goes to, on the base's architecture without weights.

    Raises:
        FinetuneError: PEFT refuses the settings, or there are no such layers.
    """
    lora_config(settings)
    places = {name: settings[name] for name in PLACES if name in settings}
    if places.get("target_modules", "all-linear") != "all-linear" or len(places) > 1:
        add_adapter(empty_model(base), places, seed=0)


def add_adapter(model: Any, settings: Settings, seed: int) -> PeftModel:
    """A fresh adapter on the base, its start decided by `seed` alone."""
    set_seed(seed)
    try:
        return get_peft_model(model, lora_config(settings), autocast_adapter_dtype=not one_format())
    except ValueError as error:
        raise FinetuneError(
            str(error).splitlines()[0],
            where="lora.target_modules",
            remedy="Name linear layers of this architecture, or leave it out for all of them.",
        ) from error


def is_quantized(model: Any) -> bool:
    """Whether bitsandbytes holds the weights in 4 or 8 bits."""
    return bool(getattr(model, "is_loaded_in_4bit", False)) or bool(
        getattr(model, "is_loaded_in_8bit", False)
    )


def keep_full_precision(model: Any) -> None:
    """Undo the cast of an adapter on a quantised base to bfloat16 (TRL 1.16, both trainers).

    Adapter weights are few; in float32 they lose nothing to rounding, and a policy and its frozen
    reference stay equal to the last bit.
    """
    if one_format():
        return
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype == torch.bfloat16:
            parameter.data = parameter.data.float()


def copy_adapter(model: PeftModel, source: str, target: str) -> None:
    """Overwrite adapter `target` with the weights of `source`, format included."""
    weights = dict(model.named_parameters())
    for name, parameter in weights.items():
        if f".{target}." in name:
            parameter.data = weights[name.replace(f".{target}.", f".{source}.")].data.clone()
