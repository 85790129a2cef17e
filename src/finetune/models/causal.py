"""Rows padded on the right go without a mask where no token sees what follows it.

Their padding is then seen by nobody that counts, and attention is the plain causal kind: sdpa has
its fastest kernels for that one alone (FlashAttention's on a GPU), and skips what lies ahead.
"""

from __future__ import annotations

from typing import Any

import torch

from finetune.models.adapters import backbone_of
from finetune.models.distributed import one_format
from finetune.models.hardware import device

TOKENS, PADDING = 8, 4  # of the row on which it is tried


def leave_masks_out(model: Any) -> bool:
    """Have a model that is about to train take no masks of padding, if it can do without.

    Only where it keeps no cache: prompts to be answered are padded on the left. Returns whether.
    """
    backbone = backbone_of(model)
    elsewhere = any(weight.is_meta for weight in backbone.parameters())
    if one_format() or elsewhere:  # ZeRO-3, FSDP: weights come when training starts
        return False
    attention = getattr(model.config.get_text_config(), "_attn_implementation", None)
    able = attention == "sdpa" and is_causal(backbone)
    if able:
        backbone.register_forward_pre_hook(_without_mask, with_kwargs=True)
    return able


def is_causal(backbone: Any) -> bool:
    """Whether states stay the same, to the last bit, when other tokens follow them.

    Not so of a mixture of experts: its kernels take tokens in groups, and others make other groups.
    """
    size = backbone.config.get_text_config().vocab_size
    row = torch.arange(TOKENS + PADDING, device=device())[None] % size
    other = torch.cat([row[:, :TOKENS], (row[:, TOKENS:] + size // 2) % size], dim=1)
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        states = [
            backbone(input_ids=ids, use_cache=False).last_hidden_state[:, :TOKENS]
            for ids in (row, other)
        ]
    backbone.train(training)
    return torch.equal(*states)


def _without_mask(_: Any, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    mask = given.get("attention_mask")
    if given.get("use_cache") is False and mask is not None and mask.ndim == 2:
        given = {**given, "attention_mask": None}
    return args, given
