"""What merging and exporting hold at their peaks: weights on their way from file to file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from finetune.export import llama_cpp
from finetune.export.artefacts import FOUR_BITS
from finetune.export.round_trip import NEW_TOKENS
from finetune.memory.depth import Parts
from finetune.memory.hollow import hollow_base, put_on
from finetune.models.load import context_length, read_config
from finetune.models.shards import LIMIT
from finetune.recipe.types import Base, Evaluate, Export, Merge, ways
from finetune.stages.lengths import at_most
from finetune.stages.needs_answering import Asked, answering
from finetune.stages.needs_reading import of_evaluation
from finetune.stages.planned import (
    UNKNOWN,
    Model,
    Need,
    Stand,
    count,
    number_format,
    opening,
    stored,
    together,
    with_checkpoint,
)

ROUNDED = "float32"  # what GGUF files are read back in


def of_merge(stage: Merge, stand: Stand) -> Need:
    """The most of its parts: adapter on base, layer by layer, merged model, and scoring them.

    Layer by layer the merged weights wait for their shard to be full, beside the base in its
    packed form where that is what is added to; mixtures of experts, whose names on disk are
    others, are merged whole. Each way to merge is written and read back.
    """
    base, plain = stand.model.base, replace(stand.model.base, quantization=None)
    dtype = number_format(base, stand.machine)
    whole, opened = _bytes(plain, dtype), _bytes(base, dtype)
    with torch.device("meta"):
        adapted = put_on(hollow_base(base, getattr(torch, dtype)), stand.model.configs())
    adapter = _size(adapted) - opened
    largest = max(each.numel() for each in adapted.parameters())
    packed = opened if base.quantization else 0
    fused = hasattr(read_config(base).get_text_config(), "num_experts_per_tok")
    held = {
        "adapter on its base": {"weights": opened, "adapter": adapter},
        "layer by layer": {
            "weights": packed + (whole if fused else 0),
            "adapter": adapter,
            "merging": (0 if fused else min(LIMIT, whole)) + 3 * 4 * largest,
        },
    }
    if fused:
        held["whole"] = held.pop("layer by layer")
    merged = {"merged model": {"weights": whole}}
    found = ways(bool(base.quantization))
    need = replace(
        _largest({name: _read(parts, stand, dtype) for name, parts in held.items()} | merged),
        files=float(len(found) * (stored(base) + 2 * whole)),
        rewritten=float(len(found) * count(base)),
    )
    need = together([need, *[opening(base, stand.machine)] * (1 + ("dequantized" in found))])
    if not stage.tasks:
        return need
    scored = (stand.model, *(Model(plain) for _ in found))
    evaluation = Evaluate(name=stage.name, tasks=stage.tasks)
    return together([need, of_evaluation(evaluation, replace(stand, models=scored))])


def of_export(stage: Export, stand: Stand) -> Need:
    """The most of the model in memory and of each file read back, all asked the same.

    A GGUF file is read back on the processor, in float32 whatever its type; llama.cpp maps it.
    """
    base, dtype = stand.model.base, number_format(stand.model.base, stand.machine)
    asked = _asked(stage, base)
    need = answering(base, stand.model.configs(), asked, stand.machine)
    gguf = "gguf" in stage.formats
    read = {"the model": base, "safetensors": base, "bnb4": replace(base, quantization=FOUR_BITS)}
    held = {
        name: {**need.parts, "weights": _bytes(file, dtype)}
        for name, file in read.items()
        if name in ("the model", *stage.formats)
    }
    if gguf and stand.machine.on_cpu:
        held["GGUF"] = {"weights": _bytes(base, ROUNDED)}
    kinds = len(stage.gguf) if gguf else 0
    readers = 1 + len({"safetensors", "adapter", "bnb4"} & {*stage.formats})
    asks = readers + kinds * (1 + llama_cpp.is_installed())
    work = {name: getattr(need, name) * asks for name in ("flops", "read", "layers_run")}
    rewritten = 2 * kinds + ("bnb4" in stage.formats and stand.machine.on_cpu)
    return replace(
        _largest(held),
        **work,
        alone=True,
        files=float(stored(base) * (readers + 2 * kinds)),
        rewritten=float(rewritten * count(base)),
        notes=(need.batch,),
    )


def _asked(stage: Export, base: Base) -> Asked:
    """Prompts one at a time, as long as they may be: those of the last training."""
    context = context_length(read_config(base))
    room = context - NEW_TOKENS if context else UNKNOWN
    return Asked(at_most(min(room, UNKNOWN), stage.prompts), 1, room, NEW_TOKENS)


def _read(parts: Parts, stand: Stand, dtype: str) -> Parts:
    return with_checkpoint(parts, stand.model.base, dtype, stand.machine)


def _largest(held: Mapping[str, Parts]) -> Need:
    name, parts = max(held.items(), key=lambda way: sum(way[1].values()))
    return Need(parts=parts, batch=name)


def _bytes(base: Base, dtype: str) -> int:
    return _size(hollow_base(base, getattr(torch, dtype)))


def _size(model: Any) -> int:
    tensors = {id(each): each for each in (*model.parameters(), *model.buffers())}
    return sum(each.numel() * each.element_size() for each in tensors.values())
