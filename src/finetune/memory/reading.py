"""What is in memory while a model writes answers, or says how likely it finds given ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import DynamicCache

from finetune.memory.depth import Parts, Peaks, of_all_layers
from finetune.memory.hollow import hollow_base, put_on, to_cpu
from finetune.memory.live import Live
from finetune.models.adapters import backbone_of
from finetune.recipe.types import Base


class Cache(DynamicCache):
    """One whose keys and values belong to that part, also where they grow."""

    def __init__(self, config: Any, live: Live) -> None:
        super().__init__(config=config)
        self.live = live

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """As the library's."""
        before, self.live.part = self.live.part, "cache"
        found = super().update(*args, **kwargs)
        self.live.part = before
        return found


def writing(
    base: Base, adapters: Sequence[Any], dtype: str, *, rows: int, prompt: int, new: int
) -> Parts:
    """Bytes at the peak of `rows` answers of `new` tokens to prompts of `prompt` tokens."""
    sizes = {"rows": rows, "prompt": prompt, "new": new}
    return of_all_layers(base, lambda count: peaks(base, adapters, dtype, count, **sizes))


def peaks(
    base: Base,
    adapters: Sequence[Any],
    dtype: str,
    count: int,
    *,
    rows: int,
    prompt: int,
    new: int,
) -> Peaks:
    """Where the prompts are read, and at the last token, when the cache is full."""
    model = put_on(hollow_base(base, getattr(torch, dtype), count), adapters).eval()
    with FakeTensorMode(), Live() as live, torch.no_grad():
        to_cpu(model, live)
        _call(model, live, "prompt", rows=rows, cached=0, tokens=prompt)
        _call(model, live, "last token", rows=rows, cached=prompt + new - 2, tokens=1)
    return live.peaks


def _call(model: Any, live: Live, phase: str, *, rows: int, cached: int, tokens: int) -> None:
    """One call as `generate` makes it: the next token's logits, in float32 to choose from."""
    config = model.config
    cache = Cache(config, live)
    if cached:
        shape = (rows, key_value_heads(config), cached, head_dim(config))
        for layer in range(layers(config)):
            key, value = (torch.empty(shape, dtype=model.dtype) for _ in range(2))
            cache.update(key, value, layer)
    live.turn("activations", phase)
    ids = torch.zeros(rows, tokens, dtype=torch.long)
    mask = torch.ones(rows, cached + tokens, dtype=torch.long)
    out = model(
        input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1
    )
    live.turn("logits", phase)
    logits = out.logits[:, -1].to(copy=True, dtype=torch.float32)
    logits.argmax(dim=-1)


def scoring(base: Base, adapters: Sequence[Any], dtype: str, *, rows: int, length: int) -> Parts:
    """Bytes at the peak of the likelihoods of `rows` texts of `length` tokens."""

    def look(count: int) -> Peaks:
        model = put_on(hollow_base(base, getattr(torch, dtype), count), adapters).eval()
        with FakeTensorMode(), Live() as live, torch.no_grad():
            to_cpu(model, live)
            backbone_of(model).register_forward_hook(lambda *_: live.turn("logits", "head"))
            live.turn("activations", "forward")
            ids = torch.zeros(rows, length, dtype=torch.long)
            mask = torch.ones_like(ids)
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            one = logits[0][:-1].clone().float()  # a row at a time, its learnt tokens
            torch.nn.functional.cross_entropy(one, ids[0, 1:], reduction="none")
        return live.peaks

    return of_all_layers(base, look)


def layers(config: Any) -> int:
    """Number of layers, each of which has a cache."""
    return int(config.get_text_config().num_hidden_layers)


def key_value_heads(config: Any) -> int:
    """Heads of keys and values: fewer than of queries where several share one."""
    text = config.get_text_config()
    return int(getattr(text, "num_key_value_heads", None) or text.num_attention_heads)


def head_dim(config: Any) -> int:
    """Width of a head."""
    text = config.get_text_config()
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
