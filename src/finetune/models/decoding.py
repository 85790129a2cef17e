"""One batch of prompts to new tokens, by `generate`, without waiting for its slowest row.

`generate` runs until every row has ended. On real answers most of that time goes to rows that
ended long ago: it is interrupted when a share of them has, and goes on with the rest and their
part of the cache. The tokens are the same.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

SHARE = 0.25  # of the rows must have ended before they are dropped: copying the cache takes time
# These settings count from where `generate` was called, or follow more rows than there are.
UNDIVIDED = {
    "num_beams": 1,
    "min_new_tokens": None,
    "exponential_decay_length_penalty": None,
    "begin_suppress_tokens": None,
    "guidance_scale": None,
}


def decode(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, config: GenerationConfig
) -> list[list[int]]:
    """The new tokens of each row, up to and with the one that ends it.

    Args:
        model: a causal language model with `generate`.
        ids: (rows, length) prompts, each against the right edge.
        mask: (rows, length) 0 where a row is padded.
        config: with `max_new_tokens` and `eos_token_id`, a list.
    """
    stops = torch.tensor(config.eos_token_id, device=ids.device)
    prompt, most = ids.shape[1], config.max_new_tokens
    divided = _can_divide(model, config)
    found: list[list[int]] = [[] for _ in range(len(ids))]
    rows = torch.arange(len(ids), device=ids.device)
    cache = None
    while len(rows):
        left = copy.deepcopy(config)
        left.max_new_tokens = most - (ids.shape[1] - prompt)
        left.return_dict_in_generate = True
        left.use_cache = True  # MPT's own config has it off
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            generation_config=left,
            stopping_criteria=StoppingCriteriaList([EnoughEnded(stops)]) if divided else None,
        )
        ids, cache = out.sequences, out.past_key_values
        ended = torch.isin(ids[:, prompt:], stops).any(dim=1)
        done = ended | (not divided) | (ids.shape[1] - prompt >= most)
        for row, new in zip(rows[done].tolist(), ids[done, prompt:].tolist(), strict=True):
            found[row] = _until(new, config.eos_token_id)
        keep = (~done).nonzero()[:, 0]
        rows, ids = rows[keep], ids[keep]
        mask = torch.nn.functional.pad(mask[keep], (0, ids.shape[1] - mask.shape[1]), value=1)
        if len(rows):
            cache.batch_select_indices(keep)
    return found


class EnoughEnded(StoppingCriteria):
    """Interrupts `generate` when a share of the rows has ended."""

    def __init__(self, stops: torch.Tensor) -> None:
        self.stops = stops
        self.ended: torch.Tensor | None = None

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        """(rows,): true for all rows or for none."""
        new = torch.isin(input_ids[:, -1], self.stops)
        self.ended = new if self.ended is None else self.ended | new
        return (self.ended.float().mean() >= SHARE).expand(len(input_ids))


def _can_divide(model: Any, config: GenerationConfig) -> bool:
    """Whether rows can leave: a state that is no cache by rows and tokens cannot be taken apart."""
    plain = all(getattr(config, name, None) in (None, value) for name, value in UNDIVIDED.items())
    return plain and not getattr(model, "_is_stateful", False)


def _until(ids: list[int], stops: list[int]) -> list[int]:
    """Tokens up to the first that ends an answer; what follows it is padding."""
    end = next((at for at, token in enumerate(ids) if token in stops), len(ids))
    return ids[: end + 1]
