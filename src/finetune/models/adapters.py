"""Adapters while they train: put on a base afresh, kept in full precision, copied."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from transformers import set_seed

from finetune.models.configs import lora_config, place
from finetune.models.distributed import one_format
from finetune.recipe.types import Settings


def add_adapter(model: Any, settings: Settings, seed: int) -> PeftModel:
    """A fresh LoRA adapter on the base, its start decided by `seed` alone."""
    set_seed(seed)
    return place(model, lora_config(settings))


def is_adapted(model: Any) -> bool:
    """Whether adapters lie on the model."""
    return hasattr(model, "peft_config")


def unwrapped(model: Any) -> Any:
    """The model without PEFT's wrapping; adapters inside it stay active."""
    return model.get_base_model() if is_adapted(model) else model


def backbone_of(model: Any) -> Any:
    """The model below its head, without PEFT's wrapping."""
    return unwrapped(model).base_model


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


def adapter_weights(model: PeftModel, adapter: str) -> dict[str, torch.Tensor]:
    """A copy of an adapter's weights by parameter name, in their format."""
    return {
        name: parameter.data.clone()
        for name, parameter in model.named_parameters()
        if adapter in name.split(".")
    }


def write_adapter(model: PeftModel, weights: dict[str, torch.Tensor], of: str, to: str) -> None:
    """Overwrite adapter `to` with the weights of adapter `of`, format included."""
    parameters = dict(model.named_parameters())
    for name, weight in weights.items():
        target = ".".join(to if part == of else part for part in name.split("."))
        parameters[target].data = weight.clone()
