"""Packed rows that do not see each other: proven on the very model, before it is trained."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from transformers.utils.generic import is_flash_attention_requested

from finetune.data.packing import PackedCollator
from finetune.errors import FinetuneError
from finetune.models.adapters import backbone_of

# Shares of the largest hidden value. Rounding stays below, the view of another row far above.
EXACT, ROUNDED = 1e-4, 5e-2


@dataclass(frozen=True)
class Leak:
    """What packing changes, as shares of the largest hidden value; both 0 in exact arithmetic.

    `neighbour`: how far a row moves when the row before it in the pack has other tokens.
    `alone`: how far it lies from the same row on its own.
    """

    neighbour: float
    alone: float


def keep_apart(model: Any, where: str) -> Leak:
    """Have the model tell packed rows apart, and prove that it does.

    A model that reads `position_ids` does so by itself (transformers masks by them). To one that
    takes none, such as MPT with ALiBi, a mask is given in their place; ALiBi's bias depends on
    distance alone, so it is right within every row.

    Raises:
        FinetuneError: rows would see each other on this architecture and attention backend.
    """
    backbone = backbone_of(model)
    if "position_ids" not in inspect.signature(backbone.forward).parameters:
        backbone.register_forward_pre_hook(_mask_by_positions, with_kwargs=True)
    try:
        found = leak(model)
    except (RuntimeError, ValueError, TypeError) as error:
        raise _refused(model, where, f"it takes no mask over packed rows ({error})") from error
    exact = next(backbone.parameters()).dtype == torch.float32 and not _quantized(model)
    if max(found.neighbour, found.alone) > (EXACT if exact else ROUNDED):
        what = f"packed rows see each other (by {max(found.neighbour, found.alone):.0%})"
        raise _refused(model, where, what)
    return found


@torch.no_grad()
def leak(model: Any) -> Leak:
    """Measure on a batch of two packs, each of three short rows of made-up tokens; see `Leak`.

    What is compared stands in the same place of two batches of one shape: of alike rows numbers
    are the same to the last bit there, in any format.
    """
    backbone, training = backbone_of(model), model.training
    model.eval()
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(backbone.config.vocab_size, (4, 9), generator=generator)
    first, other, second, third = (
        row[:size].tolist() for row, size in zip(tokens, (7, 7, 9, 5), strict=True)
    )
    flat = lies_flat(model)
    packed, moved = (
        _hidden(backbone, [[before, second, third]] * 2, flat).view(2, 21, -1)[:, 7:16]
        for before in (first, other)
    )
    alone = _hidden(backbone, [[second]], flat)[0]
    model.train(training)
    largest = float(alone.abs().max())
    return Leak(
        neighbour=float((packed - moved).abs().max()) / largest,
        alone=float((packed - alone).abs().max()) / largest,
    )


def lies_flat(model: Any) -> bool:
    """Whether the packs of a batch must lie end to end for the model to tell rows apart."""
    return bool(is_flash_attention_requested(model.config))


def _hidden(backbone: Any, packs: list[list[list[int]]], flat: bool) -> torch.Tensor:
    """Last hidden states of packs in a batch as training has it, in float32."""
    device = next(backbone.parameters()).device
    batch = PackedCollator(0, flat=flat)([_pack(rows) for rows in packs])
    given = {name: batch[name].to(device) for name in ("input_ids", "position_ids")}
    out = backbone(**given, use_cache=False)
    return out.last_hidden_state.float()


def _pack(rows: list[list[int]]) -> dict[str, list[int]]:
    ids = [*chain(*rows)]
    return {"input_ids": ids, "labels": ids, "seq_lengths": [*map(len, rows)]}


def _mask_by_positions(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`position_ids` turned into the additive mask they stand for, (rows, 1, tokens, tokens)."""
    positions = kwargs.pop("position_ids", None)
    if positions is not None:
        row = (positions == 0).cumsum(dim=1)
        size = positions.shape[1]
        causal = torch.ones(size, size, dtype=torch.bool, device=positions.device).tril()
        seen = (row[:, :, None] == row[:, None, :]) & causal
        dtype = next(module.parameters()).dtype
        dtype = dtype if dtype.is_floating_point else torch.float32
        mask = torch.zeros(seen.shape, dtype=dtype, device=positions.device)
        kwargs["attention_mask"] = mask.masked_fill(~seen, torch.finfo(dtype).min)[:, None]
    return args, kwargs


def _quantized(model: Any) -> bool:
    return getattr(model, "quantization_method", None) is not None


def _refused(model: Any, where: str, what: str) -> FinetuneError:
    return FinetuneError(
        f"packing would change what is learnt on {type(model).__name__}: {what}",
        where=f"{where}.train.packing",
        remedy="Leave packing out: rows of like length go together anyway, so little is padding.",
    )
