"""Bytes of what a stage holds, in closed form: plain numbers in, plain numbers out.

What has no closed form (activations) is read off a step without numbers: `finetune.memory.step`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

# Bytes a trained weight of `width` bytes has in the optimizer's state, by `optim` of transformers.
# torch keeps Adam's two moments in the weight's own format; bitsandbytes in one byte each, with a
# float32 scale to 256 values, but for tensors of fewer than 4096 weights, which stay in float32.
SMALL = 4096
BLOCK = 256


def packed(weights: int, bits: int, *, double: bool = False, rows: int = 0) -> int:
    """Bytes of one quantised weight matrix in bitsandbytes' formats.

    4 bits (Dettmers et al. 2023): two weights a byte and a float32 scale to 64 of them; quantised
    twice, the scales take a byte each and a float32 to 256 of them. 8 bits (Dettmers et al. 2022):
    a byte a weight and a float32 a row.
    """
    if bits == 8:
        return weights + 4 * rows
    scales = math.ceil(weights / 64)
    return math.ceil(weights / 2) + (scales + 4 * math.ceil(scales / 256) if double else 4 * scales)


def optimizer(shapes: Iterable[tuple[int, ...]], width: int, optim: str) -> int:
    """Bytes of an optimizer's state for trained tensors of these shapes, `width` bytes a weight."""
    return sum(_state(shape, width, optim) for shape in shapes)


def _state(shape: tuple[int, ...], width: int, optim: str) -> int:
    weights = math.prod(shape)
    if "adafactor" in optim:  # a row and a column in place of a matrix (Shazeer & Stern 2018)
        factored = math.prod(shape[:-1]) + math.prod((*shape[:-2], shape[-1]))
        return 4 * (factored if len(shape) > 1 else weights)
    moments = 1 if any(each in optim for each in ("lion", "sgd", "rmsprop", "adagrad")) else 2
    if "sgd" in optim:
        moments = 0  # without momentum, which transformers leaves at 0
    if "8bit" in optim and weights >= SMALL:
        return moments * (weights + 4 * math.ceil(weights / BLOCK))
    if "bnb" in optim or "paged" in optim or "8bit" in optim:
        return moments * 4 * weights
    return moments * width * weights
