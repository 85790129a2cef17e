"""What a stage trains, and whether that goes with the model it starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from finetune.recipe.read import Reading
from finetune.recipe.tuning import (
    CONTINUE,
    MERGE,
    NEW,
    REWRITING,
    Tuned,
    rewrites,
    start_of,
)
from finetune.recipe.types import Dpo, Recipe, Sft

LORA = "lora"
BASE = "base"


@dataclass(frozen=True)
class Made:
    """The model that a stage starts from or leaves."""

    quantized: bool
    adapter: str | None = None  # the stage that made the adapter on it
    method: str = LORA  # of that adapter
    bias: bool = False  # the adapter trains biases
    whole: bool = False  # the adapter holds whole modules, or rows of the embeddings
    weights: str = BASE  # the stage whose weights the adapter stands on
    merged: bool = False  # an adapter is folded into them


def trains_weights(stage: Tuned, before: Made) -> bool:
    """Whether a stage trains weights of the base rather than an adapter."""
    return stage.lora is None and stage.peft is None and before.adapter is None


def after(stage: Tuned, before: Made) -> Made:
    """The model that a stage leaves which trains an adapter."""
    choice = stage.handover(before.adapter is not None)
    if choice == CONTINUE:
        return before
    made = replace(before, adapter=stage.name)
    if choice == MERGE or (before.quantized and rewrites(stage)):
        made = replace(made, weights=stage.name)
    if isinstance(stage.lora, dict):
        bias = stage.lora.get("bias", "none") != "none"
        return replace(made, method=LORA, bias=bias, whole=_whole(stage.lora))
    if stage.peft is not None:
        return replace(made, method=stage.peft["method"], bias=False, whole=_whole(stage.peft))
    return made


UNPACKED = {"loha", "lokr", "hra"}  # read the shape of the base's weights (PEFT 0.21)


def check_tuning(stage: Tuned, before: Made, recipe: Recipe, reading: Reading) -> None:
    """Note what contradicts itself, or the model before."""
    if any(reading.problems.touch(f"{stage.name}.{key}") for key in ("lora", "peft", "esft")):
        return
    for key, message in _faults(stage, before, bool(recipe.base.add_tokens)):
        reading.refuse_at(f"{stage.name}.{key}", message)
        return  # the next may follow from it
    start = start_of(stage)
    quantization = recipe.base.quantization if before.quantized else None
    if start == "loftq" and not (quantization or {}).get("load_in_4bit"):
        reading.refuse_at(
            f"{stage.name}.lora.init_lora_weights",
            "LoftQ makes up for what rounding to 4 bits lost, and this base is not in 4 bits",
        )
    if (stage.peft or {}).get("method") in UNPACKED and (quantization or {}).get("load_in_4bit"):
        reading.refuse_at(
            f"{stage.name}.peft.method",
            "PEFT shapes it after the base's weights, and those lie packed in 4 bits: take "
            "`load_in_8bit`, no quantisation, or another method",
        )
    if start == "mica" and before.quantized:
        reading.refuse_at(
            f"{stage.name}.lora.init_lora_weights",
            "MiCA starts from singular vectors of weights that are not quantised",
        )


def _faults(stage: Tuned, before: Made, adds_tokens: bool) -> Iterator[tuple[str, str]]:
    choice = stage.handover(before.adapter is not None)
    yield from _keys_that_exclude_each_other(stage)
    if isinstance(stage.lora, str) and not choice:
        yield "lora", f"there is no adapter before this stage to {_verb(stage.lora)}"
    if choice == NEW:
        yield from _stacked(stage, before, adds_tokens)
    elif adds_tokens:
        yield from _with_tokens(stage)
    if choice == CONTINUE and isinstance(stage, Dpo) and before.method == "adalora":
        yield "lora", _no_second("adalora", before.adapter)
    if isinstance(stage, Dpo) and (stage.peft or {}).get("method") == "adalora":
        yield "peft.method", _no_second("adalora", stage.name)
    if isinstance(stage, Sft) and stage.esft is not None:
        yield from _experts(before)
    if stage.loraplus is not None and _method(stage, before) != LORA:
        yield "loraplus", "raises the rate of LoRA's B matrices, and this stage trains none"


def _keys_that_exclude_each_other(stage: Tuned) -> Iterator[tuple[str, str]]:
    given = [key for key in ("lora", "peft", "esft") if getattr(stage, key, None) is not None]
    if len(given) > 1:
        yield given[-1], f"`{given[0]}` says already what is trained; keep one of the two"


def _stacked(stage: Tuned, before: Made, adds_tokens: bool) -> Iterator[tuple[str, str]]:
    """What speaks against a second adapter on top of the one before."""
    key = "peft" if stage.peft is not None else "lora"
    way = "merge first (`lora: merge`, or a merge stage between), or leave it out to go on training"
    method = _method(stage, before)
    if method != before.method:
        yield (
            key,
            f"an adapter of method {method} cannot lie on that of '{before.adapter}' "
            f"({before.method}): PEFT stacks one method only; {way}",
        )
    if before.bias or before.whole or adds_tokens or _whole(getattr(stage, key)):
        yield (
            key,
            f"PEFT has biases, whole modules and tokens in one adapter at a time, so none can be "
            f"stacked on that of '{before.adapter}'; {way}",
        )
    start = start_of(stage)
    if start in {*REWRITING, "eva", "loftq"}:
        yield (
            "lora.init_lora_weights",
            f"{start} starts from the base's own weights or data on them, and the adapter of "
            f"'{before.adapter}' lies on them; put a merge stage between",
        )


def _with_tokens(stage: Tuned) -> Iterator[tuple[str, str]]:
    """What does not learn the rows of `base.add_tokens`."""
    for key in ("peft", "esft"):
        if getattr(stage, key, None) is not None:
            yield key, "the tokens of `base.add_tokens` are learnt with `lora`, or with all weights"
    if isinstance(stage.lora, dict) and stage.lora.get("trainable_token_indices"):
        yield (
            "lora.trainable_token_indices",
            "`base.add_tokens` says already which rows are learnt; keep one of the two",
        )


def _experts(before: Made) -> Iterator[tuple[str, str]]:
    if before.adapter is not None:
        yield "esft", f"the adapter of '{before.adapter}' must be merged before experts are trained"
    elif before.quantized:
        yield (
            "esft",
            "experts are never quantised by bitsandbytes, and the rest stays frozen: take "
            "`base.quantization` out, so that the result can be saved exactly",
        )


def _method(stage: Tuned, before: Made) -> str:
    """The method of the adapter that a stage trains; empty when it trains weights."""
    if stage.peft is not None:
        return str(stage.peft["method"])
    if isinstance(stage.lora, dict):
        return LORA
    return before.method if before.adapter is not None else ""


def _whole(settings: Any) -> bool:
    keys = ("modules_to_save", "trainable_token_indices")
    return isinstance(settings, dict) and any(settings.get(key) for key in keys)


def _verb(word: str) -> str:
    return {CONTINUE: "continue", NEW: "stack a new one on", MERGE: "merge"}[word]


def _no_second(method: str, stage: str | None) -> str:
    return (
        f"DPO keeps a frozen copy of the adapter of '{stage}' as its reference, and PEFT has one "
        f"{method} adapter at a time; put a merge stage between"
    )
