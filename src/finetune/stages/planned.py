"""A stage before it runs: the model it will open, on what, and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from finetune.embedded import BASES, known_shapes
from finetune.errors import FinetuneError
from finetune.memory.depth import Parts
from finetune.memory.hollow import hollow_base
from finetune.memory.machine import Machine
from finetune.memory.shared import Share
from finetune.models.configs import adapter_config
from finetune.models.load import read_config
from finetune.models.tokenizers import is_here, load_tokenizer, weights_folder
from finetune.recipe.tuning import Tuned
from finetune.recipe.types import Base
from finetune.stages.lengths import Lengths, at_most

UNKNOWN = 1024  # tokens of a row that cannot be looked at
ASSUMED = 1000  # rows, where it is not known how many there are
# Seconds in which a layer's kernels are started, however little they have to do: plain PyTorch on
# an A100 writes 25.5 tokens a second by a model of 32 layers (pytorch.org/blog/accelerating-
# generative-ai-2), thrice what its memory would allow.
LAYER = 1e-3
FILES = 5e8  # bytes a second from files and into them
# Weights a second that a processor merges, or brings into 4 bits, GGUF and back: measured on one
# core with a model of 150M (benchmarks/memory_plan.py has the times of whole stages).
REWRITTEN = 5e7


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
    """Bytes by part at the peak, of what batch, and the work of the whole stage."""

    parts: Parts
    batch: str
    flops: float = 0.0
    read: float = 0.0  # bytes of weights read to write answers, token by token
    layers_run: float = 0.0  # layers gone through one after another, of all batches
    files: float = 0.0  # bytes of weights that go from files or into them, by one process
    rewritten: float = 0.0  # weights that the processor merges, or brings into another format
    alone: bool = False  # whether one process does it, of however many
    assumed: bool = False  # whether the number of rows is `ASSUMED`
    notes: tuple[str, ...] = ()
    way: tuple[int, bool] | None = None  # of training: rows at once, checkpointing


@dataclass(frozen=True, kw_only=True)
class Stand:
    """What a stage has before it: the model it opens, those it scores, and on what it runs."""

    model: Model
    models: tuple[Model, ...] = ()
    machine: Machine
    share: Share = field(default_factory=Share)
    way: tuple[int, bool] | None = None  # rows at once and checkpointing, where both are given


def seconds(need: Need, machine: Machine, processes: int) -> tuple[float, str]:
    """Time that the work takes, and what that is taken from.

    Writing answers reads every weight for each token; the rest is floating-point work. Neither is
    faster than its kernels are started.
    """
    busy = need.flops / (machine.mfu * machine.flops) + need.read / machine.bandwidth
    weights = need.files / FILES + need.rewritten / REWRITTEN
    return max(busy, need.layers_run * LAYER) / (1 if need.alone else processes) + weights, (
        f"{machine.mfu:.0%} of {machine.flops / 1e12:.3g} TFLOP/s, {machine.bandwidth / 1e9:,.0f} "
        f"GB/s of memory, {LAYER * 1e3:.0f} ms a layer at least, files at {FILES / 1e9:.1f} GB/s"
    )


def together(needs: Sequence[Need], notes: tuple[str, ...] = ()) -> Need:
    """Needs one after another: the memory of the largest, the work of all."""
    largest = max(needs, key=lambda each: sum(each.parts.values()))
    work = {
        name: sum(getattr(each, name) for each in needs)
        for name in ("flops", "read", "layers_run", "files", "rewritten")
    }
    others = (note for each in needs if not each.parts for note in each.notes)
    return replace(
        largest,
        **work,
        assumed=any(each.assumed for each in needs),
        notes=(*largest.notes, *others, *notes),
    )


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
    size = stored(base)
    same = str(read_config(base).dtype).endswith(dtype)
    if same and not base.quantization:
        return parts
    loading = {"weights": parts["weights"], "checkpoint": size}
    working = {**parts, "checkpoint": size} if same else parts
    return max(loading, working, key=lambda each: sum(each.values()))


def found(limit: int, rows: int | None, look: Callable[[], Lengths]) -> Lengths:
    """What `look` finds; `rows` as long as they may be, where the data cannot be had here."""
    try:
        return look()
    except FinetuneError:
        return at_most(limit, rows or 0)


def counting(base: Base) -> Any:
    """The base's tokenizer; a built-in one, of smaller words, where it is not here or not made."""
    if base.model and is_here(base):
        with suppress(FinetuneError):
            return load_tokenizer(base)[0]
    return load_tokenizer(Base(model=BASES[0], chat_template=base.chat_template))[0]


def count(base: Base) -> int:
    """Weights of the base, packed or not."""
    plain = replace(base, quantization=None)
    return int(hollow_base(plain, torch.bfloat16).num_parameters())


def passed(base: Base) -> int:
    """Weights that a token goes through: of experts, those that it is sent to."""
    model = hollow_base(replace(base, quantization=None), torch.bfloat16)
    sent = getattr(model.config.get_text_config(), "num_experts_per_tok", None)
    experts = [each for each in model.parameters() if each.dim() == 3 and len(each) > (sent or 0)]
    spared = sum(each.numel() * (1 - sent / len(each)) for each in experts if sent)
    return int(model.num_parameters() - spared)


def looked_at(rows: Lengths, base: Base) -> tuple[str, ...]:
    """What the lengths were taken from."""
    if not rows.looked:
        return ("rows taken to be as long as they may be",)
    by = "" if base.model and is_here(base) else f" as {BASES[0]} would"
    return (f"the longest of {rows.rows:,} rows, {rows.looked:,} tokenised{by}",)


def stored(base: Base) -> int:
    """Bytes of the base's weights in files: those here, else in half precision."""
    if base.model is not None and is_here(base):
        here = weights_folder(base).glob("*.safetensors")
        return sum(file.stat().st_size for file in here) or 2 * count(base)
    return 2 * count(base)


def rows_of(count: int, what: str = "rows") -> str:
    """A number of things in words."""
    return f"{count:,} {what if count != 1 else what.removesuffix('s')}"


def opening(base: Base, machine: Machine) -> Need:
    """The work of opening a base: a processor is long about bringing it into 4 bits."""
    packed = base.quantization and machine.on_cpu
    return Need(parts={}, batch="", files=stored(base), rewritten=count(base) if packed else 0)


def told(base: Base, look: Callable[[], Parts]) -> Parts:
    """The parts, or one clear error where an architecture does not run without numbers."""
    try:
        return look()
    except FinetuneError:
        raise
    except Exception as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise FinetuneError(f"cannot be planned: {line}", where=str(base.model)) from error
