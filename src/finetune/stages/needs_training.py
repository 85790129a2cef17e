"""What training holds at the peak of a step, and the work it has."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import torch

from finetune.data.shorten import fitting
from finetune.memory.depth import Parts
from finetune.memory.hollow import hollow_base
from finetune.memory.machine import libraries
from finetune.memory.reading import layers
from finetune.memory.shared_step import training, whole
from finetune.memory.step import Step
from finetune.models.load import context_length, read_config
from finetune.recipe.types import Base, Dpo, Pretrain, Settings
from finetune.sizes import size_text
from finetune.stages import lengths as looked
from finetune.stages.batches import split
from finetune.stages.fastest import FORMATS, HERE, USABLE, Batch, fastest, most_at_once
from finetune.stages.lengths import Lengths
from finetune.stages.planned import (
    ASSUMED,
    UNKNOWN,
    Need,
    Stand,
    counting,
    found,
    looked_at,
    number_format,
    opening,
    passed,
    rows_of,
    together,
    told,
    with_checkpoint,
)
from finetune.stages.training import plan


def of_training(stage: Any, stand: Stand) -> Need:
    """Of pretrain, sft and dpo: a step at the longest batch."""
    base, settings = stand.model.base, stage.train
    limit = fitting(settings, context_length(read_config(base)))
    rows = _lengths(stage, base, limit)
    esft = getattr(stage, "esft", None)
    configs = [esft] if esft else stand.model.configs()
    step, parts = _fastest(stage, stand, rows, configs)
    if isinstance(stage, Dpo):
        parts["reference"] = _reference(parts, len(configs), step)
    notes = looked_at(rows, base)
    if not stand.share.is_alone:
        model = whole(base, configs, step.dtype)
        parts = max(parts, stand.share.loading(model), key=lambda each: sum(each.values()))
        if beside := stand.share.beside(model):
            notes += (f"{size_text(beside)} of each process lie beside the GPU",)
    many = rows.rows or ASSUMED
    seen = many * plan(settings, many, stage.batch_size, limit).epochs
    at_once = step.rows // (2 if step.pairs else 1)
    passes = 2 + (not configs) + step.checkpointing + isinstance(stage, Dpo)
    need = Need(
        parts=with_checkpoint(parts, base, step.dtype, stand.machine),
        batch=_batch(step),
        flops=2.0 * passes * passed(base) * rows.mean * seen,
        layers_run=passes * layers(read_config(base)) * seen / at_once,
        assumed=not rows.rows and "max_steps" not in settings,
        notes=notes,
        way=(at_once, step.checkpointing),
    )
    return together([need, opening(base, stand.machine)])


def _batch(step: Step) -> str:
    again = "checkpointed" if step.checkpointing else "without checkpointing"
    if not step.together:
        return f"{rows_of(step.rows)} of {step.length:,} tokens at once, {again}"
    pairs = rows_of(step.rows // 2, "pairs")
    return f"{pairs} of {step.together:,} tokens at once, each prompt once, {again}"


def _reference(parts: Parts, adapters: int, step: Step) -> int:
    """A frozen copy of the adapter; of all weights, only if its answers are not kept beforehand."""
    if adapters:
        return parts["adapter"] // adapters
    return parts.get("weights", 0) if step.reference else 0


def _fastest(stage: Any, stand: Stand, rows: Lengths, configs: list[Any]) -> tuple[Step, Parts]:
    """The step that the stage will choose on that machine (`stages.fastest`), and what it takes."""
    base, machine, share = stand.model.base, stand.machine, stand.share
    mine = split(stage.batch_size, share.processes, machine.kind)
    hollow = hollow_base(base, torch.bfloat16)
    batch = Batch(
        stage.batch_size,
        rows.longest[0],
        rows.learnt,
        pairs=isinstance(stage, Dpo),
        together=rows.together,
    )
    most = min(mine.per_device, most_at_once(hollow, batch.tokens, machine.kind))

    @cache
    def look(size: int, again: bool) -> tuple[Step, Parts]:
        step = _step(stage, stand, rows, size, again)
        return step, told(base, lambda: training(base, configs, step, share))

    def on_top(size: int, again: bool) -> float:
        return sum(bytes for part, bytes in look(size, again)[1].items() if part not in HERE)

    wanted = stage.train.get("gradient_checkpointing")
    first = look(mine.per_device, bool(wanted))[1]
    here = libraries(machine.on_cpu) + sum(first.get(part, 0) for part in HERE)
    if stand.way:
        size, again = min(stand.way[0], mine.per_device), stand.way[1] or bool(wanted)
    else:
        chosen = fastest(
            mine.per_device * mine.accumulation,
            batch.length,
            on_top,
            most=most,
            wanted=wanted,
            room=int(USABLE * (machine.memory - here)),
        )
        size, again = chosen.rows_at_once, chosen.checkpointing
    return look(size, again)


def _step(stage: Any, stand: Stand, rows: Lengths, size: int, again: bool) -> Step:
    settings: Settings = stage.train
    on_cpu = stand.machine.on_cpu
    pairs = isinstance(stage, Dpo)
    length, learnt = rows.batch(size)
    chosen = [FORMATS[name] for name in FORMATS if settings.get(name)]
    half = chosen[0] if chosen else stand.machine.half
    mixed = bool(chosen) or not (on_cpu or FORMATS.keys() & set(settings))
    once = settings.get("precompute_ref_log_probs", not settings.get("sync_ref_model"))
    return Step(
        rows=size * (2 if pairs else 1),
        length=length,
        learnt=learnt,
        dtype=number_format(stand.model.base, stand.machine),
        autocast=half if mixed else None,
        checkpointing=again,
        accumulation=max(1, stage.batch_size // stand.share.processes // size),
        optim=str(settings.get("optim", "adamw_torch_fused")),
        pairs=pairs,
        together=rows.together,
        reference=pairs and not once,
        fused=not on_cpu,
    )


def _lengths(stage: Any, base: Base, limit: int | None) -> Lengths:
    """Of the stage's rows; as long as they may be, where data or tokenizer cannot be had here."""
    longest = limit or UNKNOWN
    if isinstance(stage, Dpo):
        return _of_pairs(stage, base, limit, longest)
    if isinstance(stage, Pretrain):
        rows = found(longest, None, lambda: looked.of_texts(stage, counting(base)))
        return looked.packed(rows, longest)
    rows = found(
        longest, stage.data.rows, lambda: looked.of_conversations(stage, counting(base), limit)
    )
    return looked.packed(rows, longest) if stage.train.get("packing") else rows


def _of_pairs(stage: Dpo, base: Base, limit: int | None, longest: int) -> Lengths:
    def look() -> Lengths:
        return looked.of_pairs(stage, counting(base), limit, hollow_base(base, torch.bfloat16))

    rows = found(longest, stage.data.rows, look)
    return rows if rows.looked else replace(rows, mean=2 * rows.mean)
