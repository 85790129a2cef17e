"""Weights that several processes share: loaded in shards, counted, put together again.

DeepSpeed's ZeRO-3 leaves an empty tensor in a parameter's place, FSDP2 a `DTensor`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object
from torch.distributed.tensor import DTensor
from transformers.integrations import is_deepspeed_zero3_enabled


@contextmanager
def loaded_in_shards() -> Iterator[None]:
    """Within it a model to train is loaded as its launch profile shares it.

    Under ZeRO-3 each process then keeps its shard of every weight as it is read; without, each
    would need room for the whole model first. Models that are only evaluated or merged are opened
    outside, whole.
    """
    if os.environ.get("ACCELERATE_DEEPSPEED_ZERO3_INIT") != "true":
        yield
        return
    from accelerate.utils import DeepSpeedPlugin

    plugin = DeepSpeedPlugin()
    plugin.set_deepspeed_weakref()  # transformers looks there while `plugin` lives
    yield
    del plugin


def of_main(value: Any) -> Any:
    """The first process's value, in all of them: they go the same way."""
    box = [value]
    broadcast_object_list(box)
    return box[0]


def all_agree(value: bool) -> bool:
    """Whether it is so in every process."""
    return all(gather_object([value]))


def one_format() -> bool:
    """Whether adapters have to have the number format of their base.

    ZeRO-3 gathers weights into buffers of one format (deepspeedai/DeepSpeed#8072); it keeps float32
    copies of what is trained, so nothing is lost to rounding.
    """
    return is_deepspeed_zero3_enabled()


def size(parameter: torch.Tensor) -> int:
    """Number of elements of the whole weight."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def shard(parameter: torch.Tensor) -> torch.Tensor:
    """What this process holds of it."""
    if isinstance(parameter, DTensor):
        return parameter.to_local()
    return getattr(parameter, "ds_tensor", parameter)


def in_shards(parameter: torch.Tensor) -> bool:
    """Whether other processes hold parts of it, as it lies here now."""
    return hasattr(parameter, "ds_id") or isinstance(parameter, DTensor)


def trained_weights(model: Any) -> dict[str, torch.Tensor] | None:
    """Whole trained weights by name, for `save_pretrained(state_dict=...)`; None if none is shared.

    Every process takes part, one weight at a time.
    """
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    if not any(map(in_shards, trained.values())):
        return None
    return {name: _whole(parameter) for name, parameter in trained.items()}


def _whole(parameter: torch.Tensor) -> torch.Tensor:
    if isinstance(parameter, DTensor):
        return parameter.full_tensor().detach().cpu()
    if not hasattr(parameter, "ds_id"):
        return parameter.detach().cpu()
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter]):
        return parameter.detach().cpu().clone()
