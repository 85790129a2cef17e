"""What evaluating and merging hold at their peaks: models that are read, and nothing learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from finetune.memory.hollow import hollow_base, put_on
from finetune.memory.machine import Machine
from finetune.memory.reading import scoring, writing
from finetune.models.load import context_length, read_config
from finetune.models.shards import LIMIT
from finetune.models.tokenizers import load_tokenizer
from finetune.recipe.types import Base, Evaluate, Score
from finetune.stages import lengths as looked
from finetune.stages.lengths import Lengths
from finetune.stages.planned import (
    UNKNOWN,
    Model,
    Need,
    Stand,
    count,
    found,
    looked_at,
    number_format,
    with_checkpoint,
)
from finetune.tasks import scored
from finetune.tasks.perplexity import Perplexity


def of_evaluation(stage: Evaluate, stand: Stand) -> Need | None:
    """The largest of what its tasks take on its bases, one after another."""
    bases = {str(model.base): model.base for model in stand.models}
    needs = [
        each
        for name, base in bases.items()
        for score in stage.tasks
        if (each := _scored(score, stage, _on(base, stand, name), stand.machine))
    ]
    if not needs:
        return None
    largest = max(needs, key=lambda each: sum(each.parts.values()))
    work = {name: sum(getattr(each, name) for each in needs) for name in ("flops", "read")}
    return replace(largest, **work)


def _on(base: Base, stand: Stand, name: str) -> list[Model]:
    return [model for model in stand.models if str(model.base) == name]


def _scored(score: Score, stage: Evaluate, models: list[Model], machine: Machine) -> Need | None:
    """One task on the models of one base: their adapters lie on it together."""
    base = models[0].base
    configs = [config for model in models for config in model.configs()]
    dtype, context = number_format(base, machine), context_length(read_config(base))
    if scored.is_written(score):
        new = stage.generation.get("max_new_tokens", scored.written(score).max_new_tokens)
        room = max(16, context - new) if context else 1024
        rows = _prompts(score, base, room)
        size = min(stage.batch_size, rows.rows or stage.batch_size)
        prompt = min(rows.longest[0], room)
        parts = writing(base, configs, dtype, rows=size, prompt=prompt, new=new)
        turns = len(models) * -(-max(1, rows.rows) // size)
        return Need(
            parts=with_checkpoint(parts, base, dtype, machine),
            batch=f"{size} prompts of {prompt:,} tokens, {new:,} new ones",
            flops=2.0 * count(base) * (rows.mean + new) * rows.rows * len(models),
            read=float(turns * new * parts["weights"]),
            notes=looked_at(rows),
        )
    if score.task not in scored.LIKELY:
        return None
    window = score.max_length or min(context or 2048, 2048)
    whole = score.task == Perplexity.name  # every window is full
    rows = looked.at_most(window) if whole else _answers(score, base, window)
    size = min(stage.batch_size, rows.rows or stage.batch_size)
    length = min(rows.longest[0], window)
    parts = scoring(base, configs, dtype, rows=size, length=length)
    return Need(
        parts=with_checkpoint(parts, base, dtype, machine),
        batch=f"{size} texts of {length:,} tokens",
        flops=2.0 * count(base) * rows.mean * rows.rows * len(models),
        notes=looked_at(rows),
    )


def _prompts(score: Score, base: Base, room: int) -> Lengths:
    return found(
        base, min(room, UNKNOWN), lambda: looked.of_prompts(score, load_tokenizer(base)[0])
    )


def _answers(score: Score, base: Base, window: int) -> Lengths:
    return found(base, window, lambda: looked.of_answers(score, load_tokenizer(base)[0], window))


def of_merge(stand: Stand) -> Need:
    """The most of its three parts: adapter on base, layer by layer, merged model.

    Layer by layer the merged weights wait for their shard to be full, beside the base in its
    packed form where that is what is added to.
    """
    base, machine = stand.model.base, stand.machine
    plain = replace(base, quantization=None)
    dtype = getattr(torch, number_format(base, machine))
    whole = _bytes(hollow_base(plain, dtype))
    opened = _bytes(hollow_base(base, dtype))
    with torch.device("meta"):
        adapted = put_on(hollow_base(base, dtype), stand.model.configs())
    adapter = _bytes(adapted) - opened
    largest = max(each.numel() for each in adapted.parameters())
    ways = {
        "adapter on its base": {"weights": opened, "adapter": adapter},
        "layer by layer": {
            "weights": opened if base.quantization else 0,
            "adapter": adapter,
            "merging": min(LIMIT, whole) + 3 * 4 * largest,
        },
        "merged model": {"weights": whole},
    }
    held = {
        name: with_checkpoint(parts, base, number_format(base, machine), machine)
        if name != "merged model"
        else parts
        for name, parts in ways.items()
    }
    name, parts = max(held.items(), key=lambda way: sum(way[1].values()))
    return Need(parts=parts, batch=name)


def _bytes(model: Any) -> int:
    tensors = {id(each): each for each in (*model.parameters(), *model.buffers())}
    return sum(each.numel() * each.element_size() for each in tensors.values())
