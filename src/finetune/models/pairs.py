"""Two answers to one prompt: what both begin with goes through the model once.

A pair becomes one row: prompt, one answer, the other, each answer seeing the prompt and itself.
Hidden states, and gradients, are those of two rows (prefix sharing, Wang and Hegde 2024,
arXiv 2410.20305); of long prompts and short answers nearly half of the work is saved.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch

from finetune.models.adapters import backbone_of

PROMPT, CHOSEN, REJECTED, PADDING = range(4)
MASKS = {"sdpa", "eager"}  # attention that takes any mask
ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
Shared = dict[str, torch.Tensor]


class PairCollator:
    """A collator of pairs, which adds to its batches how their prompts are shared (`shared`)."""

    def __init__(self, collator: Callable[[Any], dict[str, Any]], *, aligned: bool) -> None:
        self.collator, self.aligned = collator, aligned

    def __call__(self, rows: Any) -> dict[str, Any]:
        batch = self.collator(rows)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        return {**batch, "shared": lay_out(ids, mask, aligned=self.aligned)}


def lay_out(ids: torch.Tensor, mask: torch.Tensor, *, aligned: bool = False) -> Shared:
    """Rows (2 n, length), padded on the right, all chosen first, as n rows of whole pairs.

    With `aligned`, answers begin in the same column of every row.

    Returns:
        `input_ids`, `position_ids` and `part` (what a token belongs to), all (n, tokens), and
        `places` (2 n, length): where a token of the rows as they were lies in the n rows laid end
        to end. If aligned also `columns` (tokens): what `position_ids` would be but for a constant
        in each row.
    """
    mask, pairs, length = mask.bool(), len(ids) // 2, ids.shape[1]
    alike = (ids[:pairs] == ids[pairs:]) & mask[:pairs] & mask[pairs:]
    common = alike.long().cumprod(dim=1).sum(dim=1, keepdim=True)
    chosen, rejected = (each[:, None] - common for each in mask.sum(dim=1).chunk(2))
    begin = common.max().expand_as(common) if aligned else common  # columns of the answers
    again = begin + (chosen.max() if aligned else chosen)
    before = torch.arange(length, device=ids.device)[None].expand(pairs, -1)
    first = before + begin - common
    second = torch.where(before < common, first, before - common + again)
    size = int((again + rejected).max())
    rows = torch.arange(pairs, device=ids.device)[:, None] * size
    places = torch.cat([first + rows, second + rows]).masked_fill(~mask, 0)
    to = places[mask]
    parts = torch.where(before < common, PROMPT, torch.tensor([[CHOSEN], [REJECTED]])[:, :, None])

    def filled(values: torch.Tensor, empty: int) -> torch.Tensor:
        found = torch.full((pairs * size,), empty, dtype=torch.long, device=ids.device)
        found[to] = values[mask]
        return found.view(pairs, size)

    shared = {
        "input_ids": filled(ids, 0),
        "position_ids": filled(before.repeat(2, 1), 0),
        "part": filled(parts.flatten(0, 1), PADDING),
        "places": places,
    }
    if aligned:
        column = torch.arange(size, device=ids.device)
        shared["columns"] = torch.where(column < again[0], column, column - chosen.max())
    return shared


def longest_row(pairs: Iterable[tuple[int, int, int]], *, aligned: bool) -> int:
    """Tokens of the longest shared row, of pairs of so many tokens in common and in each answer."""
    return sum(map(max, zip(*pairs, strict=True))) if aligned else max(map(sum, pairs))


def needs_alignment(model: Any) -> bool:
    """Whether the model takes no positions and counts columns, as MPT's ALiBi does."""
    return hasattr(backbone_of(model), "build_mpt_alibi_tensor")


def share_prompts(model: Any) -> None:
    """Have the model take `shared` of a batch: rows as they were come out, from shared ones."""
    backbone = backbone_of(model)
    plain = backbone.forward

    @wraps(type(backbone).forward)
    def forward(*args: Any, shared: Shared | None = None, **given: Any) -> Any:
        if shared is None:
            return plain(*args, **given)
        given |= {name: shared[name] for name in ("input_ids", "position_ids")}
        with _distances(backbone, shared):
            out = plain(**{**given, "attention_mask": _mask(backbone, shared["part"])})
        states = out.last_hidden_state.flatten(0, 1)
        out.last_hidden_state = torch.nn.functional.embedding(shared["places"], states)
        return out

    backbone.forward = forward


@contextmanager
def _distances(backbone: Any, shared: Shared) -> Iterator[None]:
    """ALiBi's bias as in rows apart: by the columns of those, not of the shared ones."""
    if "columns" not in shared:
        yield
        return
    slopes = -backbone.build_mpt_alibi_tensor(backbone.num_heads, 2)[:, :, :1]
    bias = (slopes.to(shared["columns"].device) * shared["columns"]).float()
    backbone.build_mpt_alibi_tensor = lambda *_, **__: bias
    try:
        yield
    finally:
        del backbone.build_mpt_alibi_tensor


def cannot_share(model: Any, length: int) -> str | None:
    """Why pairs of rows of up to `length` tokens cannot share their prompts on this model."""
    backbone = backbone_of(model)
    config = model.config.get_text_config()
    attention = getattr(config, "_attn_implementation", None)
    positions = "position_ids" in inspect.signature(type(backbone).forward).parameters
    if not positions and not needs_alignment(model):
        return "the model takes no positions"
    if attention not in MASKS:
        return f"{attention} attention takes no mask"
    kinds = set(getattr(config, "layer_types", None) or ())
    if getattr(config, "alibi", False) or kinds - ATTENTION:
        return "not all of its layers take a mask"
    windows = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
    if any(window and window < length for window in windows):
        return "rows are longer than its attention's window"
    if hasattr(config, "output_router_logits"):  # TRL asks for them, whatever the config says
        return "its routers' loss counts tokens"
    return None


def _mask(backbone: Any, part: torch.Tensor) -> torch.Tensor:
    """Who sees whom, (n, 1, tokens, tokens): all see the prompt, and their own part, before them.

    Padding sees itself, since a row of a softmax with nothing in it is no number.
    """
    size = part.shape[1]
    causal = torch.ones(size, size, dtype=torch.bool, device=part.device).tril()
    query, key = part[:, :, None], part[:, None, :]
    seen = (((key == PROMPT) | (key == query)) & causal)[:, None]
    if backbone.config._attn_implementation == "sdpa":
        return seen
    dtype = backbone.get_input_embeddings().weight.dtype
    empty = torch.zeros(seen.shape, dtype=dtype, device=part.device)
    return empty.masked_fill(~seen, torch.finfo(dtype).min)
