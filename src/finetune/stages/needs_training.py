"""What training holds at the peak of a step, and the work it has."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from finetune.data.shorten import fitting
from finetune.errors import FinetuneError
from finetune.memory.depth import Parts
from finetune.memory.hollow import hollow_base, put_on
from finetune.memory.machine import libraries
from finetune.memory.reading import layers
from finetune.memory.step import Step, training
from finetune.models.load import context_length, read_config
from finetune.models.tokenizers import load_tokenizer
from finetune.recipe.types import Base, Dpo, Pretrain, Settings, Sft
from finetune.stages import lengths as looked
from finetune.stages.batches import split
from finetune.stages.fastest import HERE, USABLE, fastest
from finetune.stages.lengths import Lengths
from finetune.stages.planned import (
    Need,
    Stand,
    count,
    looked_at,
    number_format,
    told,
    with_checkpoint,
)
from finetune.stages.training import plan


def of_training(stage: Any, stand: Stand) -> Need:
    """Of pretrain, sft and dpo: a step at the longest batch."""
    base, settings = stand.model.base, stage.train
    limit = fitting(settings, context_length(read_config(base)))
    rows = _lengths(stage, base, limit)
    configs = stand.model.configs()
    step, parts = _fastest(stage, stand, rows, configs)
    if isinstance(stage, Dpo):
        parts["reference"] = _reference(parts, len(configs), step)
    epochs = plan(settings, max(1, rows.rows), stage.batch_size, limit).epochs
    passes = 2 + (not configs) + step.checkpointing + isinstance(stage, Dpo)
    tokens = rows.mean * rows.rows * epochs * (2 if step.pairs else 1)
    return Need(
        parts=with_checkpoint(parts, base, step.dtype, stand.machine),
        batch=f"{step.rows} rows of {step.length:,} tokens",
        flops=2.0 * passes * count(base) * tokens,
        trained=_trained(base, configs, step.dtype) if stand.processes > 1 else 0,
        layers=layers(read_config(base)),
        notes=looked_at(rows),
    )


def _reference(parts: Parts, adapters: int, step: Step) -> int:
    """A frozen copy of the adapter; of all weights, only if its answers are not kept beforehand."""
    if adapters:
        return parts["adapter"] // adapters
    return parts["weights"] if step.reference else 0


def _trained(base: Base, configs: list[Any], dtype: str) -> int:
    with torch.device("meta"):
        model = put_on(hollow_base(base, getattr(torch, dtype)), configs)
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


def _fastest(stage: Any, stand: Stand, rows: Lengths, configs: list[Any]) -> tuple[Step, Parts]:
    """The step that the stage will choose on that machine (`stages.fastest`), and what it takes."""
    base, machine = stand.model.base, stand.machine
    mine = split(stage.batch_size, stand.processes, machine.kind)

    @cache
    def look(size: int, again: bool) -> tuple[Step, Parts]:
        step = _step(stage, stand, rows, size, again)
        return step, told(base, lambda: training(base, configs, step))

    def on_top(size: int, again: bool) -> float:
        return sum(bytes for part, bytes in look(size, again)[1].items() if part not in HERE)

    wanted = stage.train.get("gradient_checkpointing")
    first = look(mine.per_device, bool(wanted))[1]
    here = libraries(machine.on_cpu) + sum(first.get(part, 0) for part in HERE)
    way = fastest(
        mine.per_device * mine.accumulation,
        rows.longest[0],
        on_top,
        most=mine.per_device,
        wanted=wanted,
        room=int(USABLE * (machine.memory - here)),
    )
    return look(way.rows_at_once, way.checkpointing)


def _step(stage: Any, stand: Stand, rows: Lengths, size: int, again: bool) -> Step:
    settings: Settings = stage.train
    on_cpu = stand.machine.on_cpu
    pairs = isinstance(stage, Dpo)
    length, learnt = rows.batch(size)
    chosen = [name for name in ("bf16", "fp16") if settings.get(name)]
    half = {"bf16": "bfloat16", "fp16": "float16"}[chosen[0]] if chosen else stand.machine.half
    mixed = bool(chosen) or not (on_cpu or {"bf16", "fp16"} & set(settings))
    once = settings.get("precompute_ref_log_probs", not settings.get("sync_ref_model"))
    return Step(
        rows=size * (2 if pairs else 1),
        length=length,
        learnt=learnt,
        dtype=number_format(stand.model.base, stand.machine),
        autocast=half if mixed else None,
        checkpointing=again,
        accumulation=max(1, stage.batch_size // stand.processes // size),
        optim=str(settings.get("optim", "adamw_torch_fused")),
        pairs=pairs,
        reference=pairs and not once,
        fused=not on_cpu,
    )


def _lengths(stage: Any, base: Base, limit: int | None) -> Lengths:
    """Of the stage's rows; as long as they may be, where data or tokenizer cannot be had here."""
    longest = limit or 1024
    if isinstance(stage, Pretrain):
        return looked.at_most(longest)
    if isinstance(stage, Sft) and stage.train.get("packing"):
        return looked.at_most(longest)
    if base.model is None:
        return looked.at_most(longest)
    try:
        tokenizer, _ = load_tokenizer(base)
        if isinstance(stage, Dpo):
            return looked.of_pairs(stage, tokenizer, limit)
        return looked.of_conversations(stage, tokenizer, limit)
    except FinetuneError:
        return looked.at_most(longest)
