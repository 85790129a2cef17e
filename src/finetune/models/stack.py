"""Adapters on a base: one, or several that work together, the uppermost of which may train."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from finetune.errors import FinetuneError
from finetune.models.distributed import one_format

TOP = "default"  # the adapter that trains, under the name PEFT and TRL look for


def lower(position: int) -> str:
    """The name of a frozen adapter below the uppermost."""
    return f"below{position}"


def put_adapters(model: Any, adapters: Sequence[Path], *, trainable: bool = False) -> Any:
    """The model with saved adapters on it, lowest first, all at work; as it was without any."""
    if not adapters:
        return model
    names = [*map(lower, range(len(adapters) - 1)), TOP]
    model = put_on(model, dict(zip(adapters, names, strict=True)), trainable=trainable)
    keep_at_work(model, names[:-1])
    model.set_adapter(TOP, inference_mode=not trainable)
    return model if trainable else model.eval()


def put_on(model: Any, names: Mapping[Path, str], *, trainable: bool = False) -> Any:
    """The model with saved adapters on it under these names, the first one at work."""
    how: dict[str, Any] = {"is_trainable": trainable, "autocast_adapter_dtype": not one_format()}
    for folder, name in names.items():
        try:
            if isinstance(model, PeftModel):
                model.load_adapter(str(folder), adapter_name=name, **how)
            else:
                model = PeftModel.from_pretrained(model, str(folder), adapter_name=name, **how)
        except (ValueError, RuntimeError) as error:
            raise FinetuneError(
                f"this adapter does not fit the base: {_told(error)}",
                where=str(folder),
                remedy="Give the base that it was trained on.",
            ) from error
    return model if trainable else model.eval()


def _told(error: Exception) -> str:
    """The line that says most: of weights that do not fit, the first of them."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if "size mismatch" in line), lines[0])


def at_work(adapters: Sequence[Path]) -> tuple[Path, ...]:
    """Adapters in the order in which they add up: the uppermost, then from the lowest on.

    Sums of floats depend on their order; the Trainer takes the first adapter for the one it trains.
    """
    return (*adapters[-1:], *adapters[:-1])


def method_of(adapter: Path) -> str:
    """PEFT's name of the method of a saved adapter: LORA, IA3, …"""
    return str(json.loads((adapter / "adapter_config.json").read_text("utf-8"))["peft_type"])


def keep_at_work(model: Any, below: Sequence[str]) -> None:
    """Have adapters stay at work, frozen, whichever other one is switched to.

    PEFT's `set_adapter` makes one adapter the only one. TRL calls it to go from the policy to its
    reference and back, and both stand on the adapters below.
    """
    if not below:
        return
    for module in model.modules():
        for name in below:
            if name in getattr(module, "lora_dropout", ()):
                module.lora_dropout[name] = torch.nn.Identity()  # only what learns drops anything
    model.set_adapter = partial(_set_adapter, model, list(below))


def _set_adapter(model: Any, below: list[str], name: str, inference_mode: bool = False) -> None:
    PeftModel.set_adapter(model, name, inference_mode)
    model.base_model.set_adapter([name, *below], inference_mode=inference_mode)  # see `at_work`
    model.set_requires_grad(below, False)
