"""A step of training on one of several processes that share the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from finetune.memory.depth import Parts, by_phase, largest
from finetune.memory.hollow import hollow_base, put_on
from finetune.memory.shared import Share, Whole
from finetune.memory.step import Step, peaks
from finetune.memory.step import training as step_alone
from finetune.models.adapters import unwrapped
from finetune.recipe.types import Base


def whole(base: Base, adapters: Sequence[Any], dtype: str) -> Whole:
    """What of this model there is to share."""
    with torch.device("meta"):
        model = put_on(hollow_base(base, getattr(torch, dtype)), adapters)
    trained = [each for each in model.parameters() if each.requires_grad]
    own = unwrapped(model)
    ends = {own.get_input_embeddings().weight, own.get_output_embeddings().weight}
    of_base = [each for each in own.parameters() if hasattr(each, "of_base")]
    return Whole(
        weights=sum(each.numel() * each.element_size() for each in of_base),
        trained=sum(each.numel() for each in trained),
        trained_bytes=sum(each.numel() * each.element_size() for each in trained),
        width=getattr(torch, dtype).itemsize,
        layers=own.config.get_text_config().num_hidden_layers,
        ends=sum(each.numel() * each.element_size() for each in ends),
    )


def training(base: Base, adapters: Sequence[Any], step: Step, share: Share) -> Parts:
    """As `memory.step.training`, on one of the processes: their peak may be at another moment."""
    if share.is_alone:
        return step_alone(base, adapters, step)
    model = whole(base, adapters, step.dtype)
    phases = by_phase(base, lambda layers: peaks(base, adapters, step, layers))
    return largest(
        {
            name: Counter(share.of(parts, model, updating=name == "update"))
            for name, parts in phases.items()
        }
    )
