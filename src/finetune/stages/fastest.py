"""The fastest way to take a step that fits into memory, where the recipe does not say.

Rows at once and gradient checkpointing change time and memory and nothing that is learnt: the rows
of a step, and the sum of their gradients, stay what they are.
"""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from trl.kernels.chunked_logprob import TOKEN_CHUNK_SIZE
from trl.trainer import utils

from finetune.console import say
from finetune.data.order import most_together
from finetune.job import Job
from finetune.memory.machine import available
from finetune.memory.shared import this_process
from finetune.memory.shared_step import training
from finetune.memory.step import Step
from finetune.models.attention import why
from finetune.models.distributed import of_main
from finetune.models.hardware import device, half
from finetune.models.kernels import put_kernels
from finetune.models.load import keep_no_freed_blocks
from finetune.ranks import is_main, world_size
from finetune.recipe.types import Base, Settings
from finetune.sizes import size_text
from finetune.stages.batches import most_rows, split
from finetune.stages.training import precision, scratch

HERE = {"weights", "adapter"}  # parts of an estimate that are in memory when a stage chooses
USABLE = 0.8  # of the free memory: allocators round, and rows of other lengths leave gaps
AGAIN = 4 / 3  # time of a step whose activations are computed twice: forward, backward twice that
FORMATS = {"bf16": "bfloat16", "fp16": "float16"}
START = 256  # tokens in whose time the kernels of one pass through a model are started
# Bytes of the largest tensor in a layer, on a CPU. glibc takes blocks above 32 MB from the system
# and hands them back each time, page by page: half of it leaves room for what is put together.
BLOCK = 1 << 24


@dataclass(frozen=True)
class Batch:
    """What an optimizer step takes in: rows on all processes, and tokens of the longest one.

    `learnt` are tokens of each row, in the order of training. Of pairs `length` is that of the
    longer side, and `learnt` counts both answers; `together` are the tokens of both sides where
    they share their prompt, or 0.
    """

    batch_size: int
    length: int
    learnt: Sequence[int]
    pairs: bool = False
    together: int = 0

    @property
    def rows(self) -> int:
        """Rows of one process."""
        return max(1, self.batch_size // world_size())

    @property
    def tokens(self) -> int:
        """Tokens that the longest row, or pair, sends through the model."""
        return self.together or self.length * (2 if self.pairs else 1)

    def learnt_of(self, rows: int) -> int:
        """Most learnt tokens of so many rows that go through the model at once."""
        return most_together(self.learnt, rows)


@dataclass(frozen=True)
class Way:
    """How the rows of a step go through the model, and why so."""

    rows_at_once: int
    checkpointing: bool
    why: str

    def settings(self, batch_size: int) -> Settings:
        """Fields of TrainingArguments, for a step of `batch_size` rows on all processes."""
        spread = split(batch_size, world_size(), device().type, self.rows_at_once)
        return {
            "per_device_train_batch_size": spread.per_device,
            "per_device_eval_batch_size": spread.per_device,
            "gradient_accumulation_steps": spread.accumulation,
            "gradient_checkpointing": self.checkpointing,
        }


def choose(model: Any, base: Base, batch: Batch, settings: Settings, job: Job) -> tuple[Way, str]:
    """The fastest way that fits, the same in every process, and a line that tells of it.

    The model is given its kernels here, before anything is measured on it.

    `model` is the one that will train, loaded, with its adapters on `base`; the recipe's own
    `settings` win. A run that was stopped goes on as it began, on the same kind of device.
    """
    way = of_main(_kept(model, base, batch, settings, job) if is_main() else None)
    if way.checkpointing and half() is None:
        keep_no_freed_blocks()  # or what checkpointing frees would stay resident all the same
    formats = [name for name, is_on in precision(settings).items() if is_on]
    cast = getattr(torch, FORMATS[formats[0]]) if formats else None
    kernels = put_kernels(model, settings, cast, job.name)
    reason = why(base, model.config)
    told = (
        f"{way.rows_at_once} {'pairs' if batch.pairs else 'rows'} at once, gradient checkpointing "
        f"{'on' if way.checkpointing else 'off'}, {(*formats, _name(model.dtype))[0]}, "
        f"{getattr(model.config, '_attn_implementation', None) or 'own'} attention"
        + (f" ({reason})" if reason else "")
        + (f", {kernels}" if kernels else "")
    )
    say(f"  {job.name}: {told}: {way.why}")
    return way, told


def fastest(
    rows: int,
    length: int,
    need: Callable[[int, bool], float],
    *,
    most: int,
    wanted: bool | None,
    room: int,
) -> Way:
    """The fastest way to take `rows` of `length` tokens within `room` bytes.

    Args:
        need: bytes of so many rows at once, with activations computed again or without.
        most: rows at once.
        wanted: whether activations are computed again, where the recipe says.
    """
    sizes = [size for size in range(min(rows, most), 0, -1) if rows % size == 0]
    ways = [(size, again) for size in sizes for again in (False, True) if wanted in (None, again)]
    by_time = sorted(
        ways, key=lambda way: (AGAIN if way[1] else 1.0) * (1 + START / (way[0] * length))
    )
    for size, again in by_time:
        if (needed := need(size, again)) <= room:
            return Way(size, again, f"about {size_text(needed)} of {size_text(room)} to spare")
    least = min(ways, key=lambda way: need(*way))
    return Way(
        *least, f"may not fit: about {size_text(need(*least))}, with {size_text(room)} to spare"
    )


def by_rows(look: Callable[[int, bool], float], size: int, again: bool) -> float:
    """Bytes of `size` rows at once, told by one and by two: each takes as much as another."""
    one = look(1, again)
    return one if size == 1 else one + (size - 1) * (look(2, again) - one)


def at_most(model: Any, batch: Batch, size: int) -> float:
    """A bound on what `size` rows take without checkpointing, in no time: layers by their widths.

    Each layer keeps what it reads and what is made of what it writes (norms, activations), in
    float32; attention without a fused kernel keeps three matrices of scores a head.
    """
    config = model.config.get_text_config()
    length = batch.together or batch.length
    rows = size * batch.tokens // length
    tokens = min(batch.learnt_of(size), TOKEN_CHUNK_SIZE)  # TRL's head takes so many at a time
    layers, heads = (
        getattr(config, name, None) or 0 for name in ("num_hidden_layers", "num_attention_heads")
    )
    widths = sum(sum(_features(each)) for each in model.modules())
    experts = sum(sum(each.shape[1:]) for each in model.parameters() if each.ndim == 3)
    chosen = getattr(config, "num_experts_per_tok", None) or 1
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    return 4.0 * (
        1.5 * rows * length * (widths + chosen * experts)
        + 3.0 * layers * heads * rows * length**2
        + tokens * (8.0 * config.vocab_size + utils._CHUNKED_LOGPROB_CHUNK_SIZE)
        + 3.0 * trained
    )


def most_at_once(model: Any, tokens: int, device_type: str) -> int:
    """Rows, or pairs, of so many tokens beyond which a device gets no faster; at least one."""
    most = most_rows(device_type)
    if device_type != "cpu":
        return most
    head = set(model.get_output_embeddings().modules())  # sees what is learnt alone, in chunks
    widest = max(max(_features(each)) for each in model.modules() if each not in head)
    return max(1, min(most, BLOCK // (4 * tokens * max(1, widest))))


def _features(module: Any) -> tuple[int, int]:
    """What a linear layer reads and writes; of what an adapter wraps, counted inside."""
    if hasattr(module, "base_layer"):
        return 0, 0
    if hasattr(module, "nf"):  # transformers' Conv1D
        return module.nx, module.nf
    return getattr(module, "in_features", 0), getattr(module, "out_features", 0)


def _kept(model: Any, base: Base, batch: Batch, settings: Settings, job: Job) -> Way:
    file, name = scratch(job) / "way.json", _device_name()
    if file.is_file():
        kept = json.loads(file.read_text("utf-8"))
        if kept.pop("device") == name:
            return Way(**kept)
    room = int(USABLE * _free())
    wanted = settings.get("gradient_checkpointing")
    need = _needs(model, base, batch, settings, room)
    most = most_at_once(model, batch.tokens, device().type)
    way = fastest(batch.rows, batch.length, need, most=most, wanted=wanted, room=room)
    file.write_text(json.dumps({**asdict(way), "device": name}), encoding="utf-8")
    return way


def _needs(
    model: Any, base: Base, batch: Batch, settings: Settings, room: int
) -> Callable[[int, bool], float]:
    """Bytes on top of the loaded model; read off a step without numbers only where it is close."""

    share = this_process(half() is None)

    @cache
    def look(size: int, again: bool, learnt: int) -> float:
        try:
            step = _step(model, batch, size, settings, again=again, learnt=learnt)
            parts = training(base, _adapters(model), step, share)
        except Exception:  # an architecture that does not run without numbers
            return at_most(model, batch, size) / (4 if again else 1)
        return sum(found for part, found in parts.items() if part not in HERE)

    def need(size: int, again: bool) -> float:
        bound = at_most(model, batch, size)
        if bound <= room:
            return bound
        each = math.ceil(batch.learnt_of(size) / size)
        return by_rows(lambda rows, again: look(rows, again, rows * each), size, again)

    return need


def _step(
    model: Any, batch: Batch, size: int, settings: Settings, *, again: bool, learnt: int
) -> Step:
    chosen = [FORMATS[name] for name, is_on in precision(settings).items() if is_on]
    return Step(
        rows=size * (2 if batch.pairs else 1),
        length=batch.length,
        learnt=learnt,
        dtype=_name(model.dtype),
        autocast=chosen[0] if chosen else None,
        checkpointing=again,
        accumulation=max(1, batch.rows // size),
        optim=str(settings.get("optim", "adamw_torch_fused")),
        pairs=batch.pairs,
        together=batch.together,
        fused=half() is not None,
    )


def _adapters(model: Any) -> list[Any]:
    return [copy.deepcopy(each) for each in getattr(model, "peft_config", {}).values()]


def _free() -> int:
    """Bytes that this process may still take on its device."""
    if half() is None:
        return (available() or 1 << 62) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cached = torch.cuda.memory_reserved(device()) - torch.cuda.memory_allocated(device())
    return torch.cuda.mem_get_info(device())[0] + cached


def _device_name() -> str:
    return "cpu" if half() is None else torch.cuda.get_device_name(device())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
