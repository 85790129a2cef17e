"""What is in memory while a step of training runs: the very step, on tensors without numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from trl.kernels import chunked_logprob
from trl.trainer import utils

from finetune.memory.depth import Parts, Peaks, of_all_layers
from finetune.memory.hollow import hollow_base, put_on, to_cpu
from finetune.memory.live import Live
from finetune.memory.parts import optimizer
from finetune.models.adapters import unwrapped
from finetune.models.pairs import Shared, needs_alignment, share_prompts
from finetune.recipe.types import Base

# What TRL's trainers ask of the head beside log-probabilities.
SFT = ("log_probs", "entropy", "is_top1")
DPO = ("log_probs", "entropy", "mean_logits", "is_top1")


@dataclass(frozen=True, kw_only=True)
class Step:
    """A micro-batch of training: what goes through the model at once, and how.

    `rows` are those of the batch: of DPO's pairs two each, also where each pair goes through the
    model as one row of `together` tokens.
    """

    rows: int
    length: int
    learnt: int  # tokens whose likelihood is computed, of all rows
    dtype: str = "float32"
    autocast: str | None = None  # the type that accelerate computes in, where it is not `dtype`
    checkpointing: bool = False
    accumulation: int = 1
    optim: str = "adamw_torch_fused"
    pairs: bool = False
    together: int = 0
    reference: bool = False  # asked in every step, and not beforehand
    fused: bool = False  # a GPU's kernels look at each tile of logits where it lies


def training(base: Base, adapters: Sequence[Any], step: Step) -> Parts:
    """Bytes at the peak of a training step.

    Args:
        base: the model the stage stands on.
        adapters: PEFT configs, lowest first, of which the last trains; without any, all weights do.
        step: the micro-batch.

    Raises:
        Exception: this architecture, or adapter, does not run without numbers.
    """
    return of_all_layers(base, lambda count: peaks(base, adapters, step, count))


def peaks(base: Base, adapters: Sequence[Any], step: Step, layers: int) -> Peaks:
    hollow = put_on(hollow_base(base, getattr(torch, step.dtype), layers), adapters)
    model = prepared(hollow, adapters, step)
    with _tiles_in_place(step.fused), FakeTensorMode(), Live() as live:
        to_cpu(model, live)
        trained = [each for each in model.parameters() if each.requires_grad]
        shapes = [tuple(each.shape) for each in trained]
        live.turn("optimizer")
        width = trained[0].element_size()
        states = torch.empty(optimizer(shapes, width, step.optim), dtype=torch.uint8)
        live.turn("gradients")
        for each in trained:
            if step.accumulation > 1:
                each.grad = torch.zeros_like(each)
            each.register_post_accumulate_grad_hook(lambda p: live.claim(p.grad, "gradients"))
        forward_and_back(model, step, live)
        live.turn("", "update")
        del states
        return live.peaks


def prepared(model: Any, adapters: Sequence[Any], step: Step) -> Any:
    """The model ready to train, as TRL's trainers make it."""
    if step.checkpointing:
        if adapters:
            model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if step.together:
        share_prompts(model)
    return model.train()


@contextmanager
def _tiles_in_place(fused: bool) -> Iterator[None]:
    """Within it TRL's head takes no more than its Triton kernels do: a tile, and nothing beside.

    Without Triton it works with torch's operations, and a dozen tensors of a tile's size.
    """
    names = ("_forward_tile", "_backward_tile", "_addmm_fp32") if fused else ()
    before = {name: getattr(chunked_logprob, name) for name in names}
    try:
        for name in names:
            setattr(chunked_logprob, name, lambda *_, **__: None)
        yield
    finally:
        for name, function in before.items():
            setattr(chunked_logprob, name, function)


def forward_and_back(model: Any, step: Step, live: Live) -> None:
    """One micro-batch; `live` is told which part is being worked on."""
    live.turn("activations", "forward")
    ids = torch.zeros(step.rows, step.length, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[-1, -1] = 0  # a padded batch, as most are: its mask is real
    cast = torch.autocast("cpu", getattr(torch, step.autocast)) if step.autocast else nullcontext()
    with cast:
        loss = _loss(model, ids, mask, step, live)
        if step.reference:
            with torch.no_grad():
                _loss(model, ids, mask, step, live)
    loss.backward()


def _together(step: Step, model: Any) -> Shared:
    """Pairs of `together` tokens, as the collator lays them out."""
    pairs = torch.zeros(step.rows // 2, step.together, dtype=torch.long)
    places = torch.zeros(step.rows, step.length, dtype=torch.long)
    shared = {"input_ids": pairs, "position_ids": pairs, "part": pairs, "places": places}
    return shared | ({"columns": pairs[0]} if needs_alignment(model) else {})


def _tile_width(head: Any, step: Step) -> int:
    """Words of a tile of logits: a CPU leaves out what lies beyond the vocabulary.

    TRL makes tiles of one width, whatever the vocabulary. A GPU sets all of that aside; of the
    rest no page is ever written, and Linux gives none.
    """
    width = utils._CHUNKED_LOGPROB_CHUNK_SIZE
    return width if step.fused else min(width, len(head.weight))


def _loss(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, step: Step, live: Live
) -> torch.Tensor:
    """Backbone and head as TRL's `add_fused_lm_head` calls them, on the learnt tokens alone."""
    whole = unwrapped(model)
    live.turn("activations", "forward")
    shared = {"shared": _together(step, model)} if step.together else {}
    out = whole.base_model(input_ids=ids, attention_mask=mask, use_cache=False, **shared)
    hidden = out.last_hidden_state[:, :-1]
    if hidden.requires_grad:
        hidden.register_hook(lambda _: live.turn("activations", "backward"))
    live.turn("logits", "head")
    head, config = whole.get_output_embeddings(), whole.config.get_text_config()
    scored = hidden.reshape(-1, hidden.shape[-1])[: step.learnt].clone()
    found = utils._ChunkedLogProbFunction.apply(
        scored,
        head.weight,
        head.bias,
        torch.zeros(len(scored), dtype=torch.long),
        1.0,
        _tile_width(head, step),
        getattr(config, "final_logit_softcapping", None),
        1.0,
        DPO if step.pairs else SFT,
    )
    return -found[0].sum()
