"""What a trainer needs where its weights lie in shards: DeepSpeed ZeRO, FSDP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def not_training_yet(trainer: Any) -> Iterator[None]:
    """Within it `trainer.evaluate` works before training, and training starts as if it had not.

    accelerate 1.15 marks a model that was evaluated as prepared: DDP would not wrap it any more,
    and every rank would train alone. ZeRO-1, ZeRO-2 and FSDP2 split weights only together with an
    optimizer, and transformers 5.23 refuses to evaluate without one; until then the weights are
    whole, so nothing of theirs is needed. ZeRO-3 evaluates through an engine, which has to be gone
    when training makes its own.
    """
    deepspeed, fsdp = trainer.is_deepspeed_enabled, trainer.is_fsdp_enabled
    zero3 = deepspeed and trainer.accelerator.state.deepspeed_plugin.zero_stage == 3
    if not zero3:
        trainer.is_deepspeed_enabled = trainer.is_fsdp_enabled = False
    try:
        yield
    finally:
        trainer.is_deepspeed_enabled, trainer.is_fsdp_enabled = deepspeed, fsdp
        if zero3:
            trainer.deepspeed.destroy()
            trainer.deepspeed = None
        model = trainer.model
        trainer.model_wrapped = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        trainer.accelerator._models.clear()
        model.__dict__.pop("_is_accelerate_prepared", None)
