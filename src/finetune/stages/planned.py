"""A stage before it runs: the model it will open, on what, and what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from finetune.embedded import known_shapes
from finetune.errors import FinetuneError
from finetune.memory.depth import Parts
from finetune.memory.hollow import hollow_base
from finetune.memory.machine import Machine
from finetune.models.configs import adapter_config
from finetune.models.load import read_config
from finetune.models.tokenizers import is_here, weights_folder
from finetune.recipe.tuning import Tuned
from finetune.recipe.types import Base
from finetune.stages.lengths import Lengths, at_most

UNKNOWN = 1024  # tokens of a row that cannot be looked at


@dataclass(frozen=True)
class Model:
    """A model before it exists: its base, and the stages whose settings shape its adapters."""

    base: Base
    shapes: tuple[Tuned, ...] = ()

    def configs(self) -> list[Any]:
        """PEFT's configs, lowest first."""
        return [adapter_config(each) for each in self.shapes]


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes by part at the peak, of what batch, and the floating-point work of the whole stage."""

    parts: Parts
    batch: str
    flops: float = 0.0
    read: float = 0.0  # bytes of weights read to write answers, token by token
    trained: int = 0  # weights that train
    layers: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Stand:
    """What a stage has before it: the model it opens, those it scores, and on what it runs."""

    model: Model
    models: tuple[Model, ...] = ()
    machine: Machine
    processes: int = 1


def seconds(need: Need, machine: Machine) -> tuple[float, str]:
    """Time that the work takes, and what that is taken from.

    Writing answers reads every weight for each token; the rest is floating-point work.
    """
    time = need.flops / (machine.mfu * machine.flops) + need.read / machine.bandwidth
    return time, f"{machine.mfu:.0%} of {machine.flops / 1e12:.3g} TFLOP/s"


def number_format(base: Base, machine: Machine) -> str:
    """What `auto` comes to on that machine."""
    if base.dtype != "auto":
        return base.dtype
    return "float32" if machine.on_cpu or machine.half == "float16" else machine.half


def known(model: Model) -> Model:
    """The model by the shape of its base, where that ships and its files are not here."""
    shape = known_shapes().get(model.base.model or "")
    if shape is None or is_here(model.base):
        return model
    return replace(model, base=replace(model.base, model=None, config=shape))


def with_checkpoint(parts: Parts, base: Base, dtype: str, machine: Machine) -> Parts:
    """The parts on a CPU, where the file that weights are read from lies in memory as well.

    It is mapped. Weights that keep its format are the mapping itself. Others are made beside it:
    it goes when loading is done, but stays where some weights are part of it, as the embeddings
    of a base in 4 bits are. Linux takes such pages back when memory runs short.
    """
    if not machine.on_cpu or base.model is None or not is_here(base):
        return parts
    size = sum(file.stat().st_size for file in weights_folder(base).glob("*.safetensors"))
    same = str(read_config(base).dtype).endswith(dtype)
    if same and not base.quantization:
        return parts
    loading = {"weights": parts["weights"], "checkpoint": size}
    working = {**parts, "checkpoint": size} if same else parts
    return max(loading, working, key=lambda each: sum(each.values()))


def found(base: Base, limit: int, look: Callable[[], Lengths]) -> Lengths:
    """What `look` finds; as long as rows may be, where tokenizer or data cannot be had here."""
    if base.model is None:
        return at_most(limit)
    try:
        return look()
    except FinetuneError:
        return at_most(limit)


def count(base: Base) -> int:
    """Weights of the base, packed or not."""
    plain = replace(base, quantization=None)
    return int(hollow_base(plain, torch.bfloat16).num_parameters())


def looked_at(rows: Lengths) -> tuple[str, ...]:
    """What the lengths were taken from."""
    if rows.looked:
        return (f"the longest of {rows.rows:,} rows, {rows.looked:,} tokenised",)
    return ("rows taken to be as long as they may be",)


def told(base: Base, look: Callable[[], Parts]) -> Parts:
    """The parts, or one clear error where an architecture does not run without numbers."""
    try:
        return look()
    except FinetuneError:
        raise
    except Exception as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise FinetuneError(f"cannot be planned: {line}", where=str(base.model)) from error
