"""Liger's Triton kernels in place of a model's norms, rotary positions and gates.

They compute the same numbers in fewer passes over memory. Liger puts them into instances, and into
transformers' modules by name, whatever a model makes of it: so they stay only if they are proven.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from transformers.integrations.liger import apply_liger_kernel

from finetune.errors import FinetuneError
from finetune.models.adapters import unwrapped
from finetune.models.distributed import all_agree, one_format
from finetune.models.hardware import device, on_cpu
from finetune.recipe.types import Settings

# How far numbers may move, relative to their own size: never mind so much, and else so many times
# what moves them when the first states lose their last bit. Two ways to compute attention lie no
# further apart than that, in any format, with 2 layers and with 32 (docs/results/liger.md).
EXACT, TIMES = 1e-5, 3.0
# TRL's trainers have a head of their own, over what is learnt alone.
HEAD = {"fused_linear_cross_entropy": False, "cross_entropy": False}
OUT = "train.use_liger_kernel"


def check_kernels(config: Any, settings: Settings, where: str) -> None:
    """Find out whether a stage that asks for Liger's kernels can have them, by its base's config.

    Raises:
        FinetuneError: the device, the package or the architecture lacks them.
    """
    if not settings.get("use_liger_kernel"):
        return
    if reason := _against(config):
        raise FinetuneError(
            f"Liger's kernels cannot be used here: {reason}",
            where=f"{where}.{OUT}",
            remedy=f"Leave {OUT} out: they are then used wherever they can be.",
        )
    known = set(inspect.signature(_ways()[config.model_type]).parameters) - {"model", *HEAD}
    if unknown := sorted((settings.get("liger_kernel_config") or {}).keys() - known - HEAD.keys()):
        raise FinetuneError(
            f"Liger has no {', '.join(unknown)} for {config.model_type}",
            where=f"{where}.train.liger_kernel_config",
            remedy=f"Choose among {', '.join(sorted(known))}.",
        )


def put_kernels(model: Any, settings: Settings, cast: torch.dtype | None, where: str) -> str:
    """Give a model that is about to train Liger's kernels, if the recipe or, unsaid, the place
    has them; `cast` is the format that training computes in.

    Returns what there is to tell; nothing where nobody asks for them and none are installed.

    Raises:
        FinetuneError: the recipe asks for them, and with them the model computes something else.
    """
    wanted = settings.get("use_liger_kernel")
    if wanted is False or (wanted is None and on_cpu()):
        return ""
    parts = {**(settings.get("liger_kernel_config") or {}), **HEAD}
    if one_format():  # the weights lie in shards until training starts: nothing can be proven
        if wanted:
            apply_liger_kernel(model, parts)
        return "Liger kernels, unproven" if wanted else ""
    reason = _against(model.config)
    # Asked for in every process, whatever it found itself: machines may have other packages.
    if not all_agree(not reason):
        reason = reason or "another process cannot have them"
    else:
        reason = _tried(model, parts, cast)
    if reason and wanted:
        raise FinetuneError(
            f"Liger's kernels do not compute what this model does: {reason}",
            where=f"{where}.{OUT}",
            remedy=f"Leave {OUT} out, or switch off a part by train.liger_kernel_config.",
        )
    if reason and find_spec("liger_kernel") is None:
        return ""
    return f"no Liger kernels ({reason})" if reason else "Liger kernels"


def _ways() -> dict[str, Callable[..., None]]:
    """Liger's own functions by `model_type`."""
    patches = importlib.import_module("liger_kernel.transformers.monkey_patch")
    return dict(patches.MODEL_TYPE_TO_APPLY_LIGER_FN)


def _against(config: Any) -> str:
    """What speaks against the kernels here. On a CPU Triton has an interpreter, to try them."""
    if on_cpu() and os.environ.get("TRITON_INTERPRET") != "1":
        return "they need a GPU, and there is none that torch can use"
    if find_spec("liger_kernel") is None:
        return "liger-kernel is not installed (pip install liger-kernel)"
    try:
        known = _ways()
    except Exception as error:  # made for another transformers or Triton
        return f"liger-kernel does not load: {_line(error)}"
    return "" if config.model_type in known else f"Liger has none for {config.model_type}"


def _tried(model: Any, parts: dict[str, bool], cast: torch.dtype | None) -> str:
    """Put the kernels in and hold what comes out against what came before; if that is something
    else, in this process or another, take them out again and say why.
    """
    whole = unwrapped(model)
    take_out, reason = _way_back(whole), ""
    try:
        before = _reading(whole, cast)
        rounding = _reading(whole, cast, moved=True).gap(before)
        apply_liger_kernel(model, parts)
        gap = _reading(whole, cast).gap(before)
        if not gap <= max(EXACT, TIMES * rounding):
            reason = f"numbers move by {gap:.0e}, where rounding moves them by {rounding:.0e}"
    except Exception as error:  # Triton compiles here: no compiler, a GPU it does not know, …
        reason = _line(error)
    if all_agree(not reason):
        return ""
    take_out()
    return reason or "they fail in another process"


@dataclass(frozen=True)
class _Reading:
    """What a model makes of two short rows."""

    hidden: torch.Tensor  # its last states
    embedded: torch.Tensor  # the gradient that comes back to the first ones
    trained: torch.Tensor  # the length of the gradient of each weight that trains

    def gap(self, other: _Reading) -> float:
        """The largest distance, relative to the other's length."""
        names = ("hidden", "embedded", "trained")
        pairs = [(getattr(self, name), getattr(other, name)) for name in names]
        return max(float((a - b).norm() / b.norm().clamp(min=1e-30)) for a, b in pairs)


def _reading(model: Any, cast: torch.dtype | None, *, moved: bool = False) -> _Reading:
    """Forward and backward in evaluation mode, no weight's gradient kept beyond its length.

    With `moved` half of the first states are smaller by the last bit of the format computed in.
    """
    generator, bits = (torch.Generator().manual_seed(seed) for seed in (0, 1))
    text = model.config.get_text_config()
    ids = torch.randint(text.vocab_size, (2, 24), generator=generator).to(device())
    first: list[torch.Tensor] = []
    lengths: dict[str, torch.Tensor] = {}

    def embed(module: Any, args: Any, out: torch.Tensor) -> torch.Tensor:
        if moved:
            last = torch.finfo(cast or out.dtype).eps
            out = out * (1 - last * torch.randint(2, out.shape, generator=bits)).to(out)
        out.requires_grad_().retain_grad()
        first.append(out)
        return out

    def weigh(name: str) -> Callable[[torch.Tensor], None]:
        def hook(weight: torch.Tensor) -> None:
            assert weight.grad is not None
            lengths[name] = weight.grad.float().norm()
            weight.grad = None

        return hook

    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    training = model.training
    model.eval()
    with ExitStack() as hooks:
        handle = model.get_input_embeddings().register_forward_hook(embed)
        hooks.callback(handle.remove)
        for name, each in trained.items():
            hooks.callback(each.register_post_accumulate_grad_hook(weigh(name)).remove)
        with torch.autocast(device().type, cast, enabled=cast is not None):
            out = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        along = torch.randn(out.shape, generator=generator).to(out.device)
        (out.float() * along).sum().backward()
    model.train(training)
    none = torch.zeros((), device=out.device)
    return _Reading(
        hidden=out.detach().float(),
        embedded=first[0].grad.float(),  # type: ignore[union-attr]
        trained=torch.stack([none, *(lengths.get(name, none) for name in trained)]),
    )


def _way_back(model: Any) -> Callable[[], None]:
    """What undoes Liger's changes: names of transformers' module, and attributes of instances."""
    library = vars(sys.modules[type(model).__module__])
    names, own = dict(library), [(each, dict(vars(each))) for each in model.modules()]

    def take_out() -> None:
        library.update(names)
        for module, attributes in own:
            vars(module).clear()
            vars(module).update(attributes)

    return take_out


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
