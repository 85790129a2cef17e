"""How a base's attention is computed: as the recipe says, or by the fastest way that is here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import torch
from transformers import utils
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from finetune.errors import FinetuneError
from finetune.models.hardware import device, dtype, on_cpu
from finetune.recipe.types import Base

FLASH = "flash_attention_2"
# FlashAttention by transformers' name -> its package, its module, and the oldest GPUs it runs on.
PACKAGES = {
    FLASH: ("flash-attn", "flash_attn", (8, 0)),  # Ampere
    "flash_attention_3": ("flash-attn-3", "flash_attn_interface", (9, 0)),  # Hopper
}
WIDEST = 256  # head that FlashAttention's kernels take
# What transformers' classes say of each; eager they all have.
SUPPORTS = {"sdpa": "sdpa", "flex_attention": "flex_attn", **dict.fromkeys(PACKAGES, "flash_attn")}


def attention(base: Base, config: Any) -> str | None:
    """Transformers' name of how attention is computed, `config` being the base's own.

    None leaves it to transformers: sdpa where the architecture has it. FlashAttention is taken
    where its package is installed, since it skips padding and masks between packed rows.
    """
    if base.attn_implementation is None and not next(_against(FLASH, base, config), None):
        return FLASH
    return base.attn_implementation


def why(base: Base, config: Any) -> str:
    """Why a model computes it so, by its config, where an installed package had a say."""
    if base.attn_implementation or on_cpu() or find_spec("flash_attn") is None:
        return ""
    if config._attn_implementation == FLASH:
        return "flash-attn is installed"
    return next((reason for reason, _ in _against(FLASH, base, config)), "")


def check_attention(base: Base, config: Any) -> None:
    """Find out whether attention can be computed here as the recipe says.

    Raises:
        FinetuneError: the device, a package, the number format or the architecture lacks it.
    """
    name = base.attn_implementation
    for reason, remedy in _against(name, base, config) if name else ():
        raise FinetuneError(
            f"{name} cannot be used here: {reason}",
            where="base.attn_implementation",
            remedy=f"{remedy}, or leave base.attn_implementation out.",
        )


def _against(name: str, base: Base, config: Any) -> Iterator[tuple[str, str]]:
    """What speaks against a way to compute attention, and what would mend it.

    Without a package transformers would fetch a kernel from the hub, which is code of others.
    """
    if on_cpu() and name in (*PACKAGES, "flex_attention"):
        yield "it needs a GPU, and there is none that torch can use", "Take sdpa"
        return
    if name in PACKAGES:
        yield from _against_flash(name, base, config)
    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    ready = getattr(kind, "_compatible_flash_implementations", None)
    if not getattr(kind, f"_supports_{SUPPORTS.get(name, '')}", name == "eager") or (
        name in PACKAGES and ready and name not in ready
    ):
        yield f"transformers' {config.model_type} has no {name}", "Take eager"


def _against_flash(name: str, base: Base, config: Any) -> Iterator[tuple[str, str]]:
    package, module, oldest = PACKAGES[name]
    if find_spec(module) is None:
        install = "pip install flash-attn --no-build-isolation"
        yield f"{package} is not installed", f"Install it ({install})"
        return
    if torch.cuda.get_device_capability(device()) < oldest:
        yield f"{package} runs on no GPU this old", "Take sdpa"
    if dtype(base.dtype) == torch.float32:
        yield f"{package} computes in 16 bits, and the base is in float32", "Set base.dtype"
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", None) or 1
    width = getattr(text, "head_dim", None) or (getattr(text, "hidden_size", None) or 0) // heads
    if width > WIDEST:
        yield f"{package} takes heads of {WIDEST} at most, and these have {width}", "Take sdpa"
    try:
        importlib.import_module(module)
    except Exception as error:  # built for another torch, mostly
        told = (str(error).splitlines() or [type(error).__name__])[0]
        yield f"{package} does not load ({told})", f"Build it anew: pip install --force {package}"
        return
    if not getattr(utils, f"is_flash_attn_{name[-1]}_available")():
        yield f"this {package} is too old for transformers", f"Run pip install -U {package}"
