"""Pairs whose answers share their prompt: proven on the stage's longest ones, then used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
from datasets import Dataset

from finetune.console import say, warn
from finetune.data.pairs import Fitted
from finetune.models.adapters import is_quantized, unwrapped
from finetune.models.attention import FLASH
from finetune.models.pairs import (
    PairCollator,
    cannot_share,
    longest_row,
    needs_alignment,
    share_prompts,
)
from finetune.models.policy import Policy
from finetune.stages.reference import ReferenceTrainer

# Shares of an answer's log-probability: rounding stays below, a wrong mask lies far above.
EXACT, ROUNDED = 1e-4, 2e-2


def tokens_together(policy: Policy, pairs: Sequence[Fitted], length: int, name: str) -> int:
    """Tokens of the longest pair as one row, or 0 where pairs of rows of `length` cannot share.

    FlashAttention, where nobody asked for it, makes way: it takes no such mask, and saves less.
    """
    model = policy.model
    if policy.base.attn_implementation is None and model.config._attn_implementation == FLASH:
        unwrapped(model).set_attn_implementation("sdpa")
    if reason := cannot_share(model, length):
        say(f"  {name}: a prompt goes through the model for each answer anew: {reason}")
        return 0
    return longest_row((each.parts for each in pairs), aligned=needs_alignment(model))


def share(trainer: ReferenceTrainer, pairs: Dataset, name: str) -> bool:
    """Have the trainer's pairs share their prompts, if that leaves `pairs` what they are.

    It is asked by the trainer itself, on the very model, so also where weights lie in shards.
    """
    apart = trainer.ask(pairs, f"{name}: pairs apart")
    plain, models = trainer.data_collator, (trainer.model, trainer.ref_model)
    for model in filter(None, models):
        share_prompts(model)
    trainer.data_collator = PairCollator(plain, aligned=needs_alignment(trainer.model))
    try:
        together = trainer.ask(pairs, f"{name}: pairs together")
        gap = float(numpy.abs((together - apart) / numpy.maximum(1.0, numpy.abs(apart))).max())
        told = f"their likelihood would differ by {gap:.1%}"
    except (RuntimeError, ValueError, TypeError) as error:
        gap, told = float("inf"), str(error).partition("\n")[0]
    if gap <= (EXACT if _is_exact(trainer) else ROUNDED):
        say(f"  {name}: a prompt goes through the model once for both its answers")
        return True
    trainer.data_collator = plain
    warn(f"{name}: the answers of a pair do not share their prompt on this model: {told}")
    return False


def _is_exact(trainer: Any) -> bool:
    mixed = trainer.args.bf16 or trainer.args.fp16
    return not (mixed or is_quantized(trainer.model) or trainer.model.dtype.itemsize < 4)
