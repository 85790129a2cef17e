"""Experts of which some train (`models/experts.py`), on a model without numbers.

Which ones is known once the data has gone through the model. How many is bounded: the highest
scores of a layer's experts are its largest shares of 1, so `top_p` of them sum to `top_p` at least.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch

from finetune.models.experts import expert_layers, expert_weights
from finetune.recipe.tuning import Esft


def most_chosen(settings: Esft, experts: int) -> int:
    """Experts of a layer that train, at most."""
    return min(experts, math.ceil(settings.top_p * experts - 1e-9))


class Rows(torch.nn.Module):
    """A layer's experts: the first so many train, each a copy beside the frozen whole.

    Asked for one, it gives the next: without numbers nobody knows which is meant.
    """

    def __init__(self, whole: torch.Tensor, chosen: int) -> None:
        super().__init__()
        frozen: Any = torch.nn.Parameter(whole.detach(), requires_grad=False)
        frozen.of_base = True
        self.frozen = frozen
        self.chosen = torch.nn.ParameterList(torch.empty_like(whole[0]) for _ in range(chosen))
        self.turn = itertools.cycle(range(len(whole)))

    def __getitem__(self, index: Any) -> torch.Tensor:
        row = next(self.turn)
        return self.chosen[row] if row < len(self.chosen) else self.frozen[row]


def freeze_all_but(model: Any, settings: Esft) -> Any:
    """The model with as many experts to train as there may be.

    Raises:
        FinetuneError: it has none.
    """
    model.requires_grad_(False)
    model.set_experts_implementation("eager")
    for module in expert_layers(model).values():
        for key, weights in expert_weights(module).items():
            delattr(module, key)
            setattr(module, key, Rows(weights, most_chosen(settings, len(weights))))
    return model
