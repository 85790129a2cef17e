"""Tokens that the base does not have: rows of the embeddings, learnt and saved with the adapter."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftConfig
from peft.utils.other import TrainableTokensWrapper

from finetune.models.tokenizers import load_tokenizer
from finetune.recipe.types import Base


def make_room(model: Any, base: Base) -> None:
    """Give the model a row for each of `base.add_tokens`: the mean of those it has.

    The mean is what a token of unknown meaning is best taken for, and it needs no random numbers,
    so that a base opened twice is the same.
    """
    if not base.add_tokens:
        return
    ids = token_ids(base)
    rows = min(ids)
    if max(ids) >= model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    heads = [model.get_input_embeddings()]
    if not is_tied(model):
        heads.append(model.get_output_embeddings())
    with torch.no_grad():
        for weight in (head.weight for head in heads if head is not None):
            weight[ids] = weight[:rows].float().mean(dim=0).to(weight.dtype)


def token_ids(base: Base) -> list[int]:
    """The ids of `base.add_tokens`."""
    tokenizer, _ = load_tokenizer(base)
    return [tokenizer.convert_tokens_to_ids(token) for token in base.add_tokens]


def learn_tokens(config: PeftConfig, model: Any, base: Base) -> None:
    """Have the adapter learn the rows of the added tokens, at both ends where they are not tied."""
    if not base.add_tokens:
        return
    heads = [model.get_input_embeddings()]
    if not is_tied(model):
        heads.append(model.get_output_embeddings())
    names = [name for name, module in model.named_modules() if any(module is h for h in heads)]
    ids = token_ids(base)
    config.trainable_token_indices = dict.fromkeys(names, ids)  # type: ignore[attr-defined]


def is_tied(model: Any) -> bool:
    """Whether input and output embeddings are one matrix."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def show_bias(model: Any) -> None:
    """Let a head whose rows are learnt have the bias that TRL 1.16 asks it for.

    PEFT 0.21's wrapper passes on the weight alone. Not registered: the bias is no second parameter.
    """
    for module in model.modules():
        if isinstance(module, TrainableTokensWrapper):
            object.__setattr__(module, "bias", getattr(module.original_module, "bias", None))
