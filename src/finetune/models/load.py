"""A `ModelRef` opened: the base in its number format, quantised if asked, its adapter on it."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, set_seed

from finetune.errors import FinetuneError
from finetune.job import ModelRef
from finetune.models.attention import attention, check_attention
from finetune.models.distributed import one_format, shard, size
from finetune.models.hardware import compute_dtype, device, dtype, on_cpu
from finetune.models.identity import check_identity
from finetune.models.stack import put_adapters
from finetune.models.tokenizers import is_local, source, unreachable
from finetune.models.tokens import make_room
from finetune.recipe.types import Base, Settings

M_MMAP_THRESHOLD = -3  # of `mallopt`, in glibc's malloc.h


def open_base(base: Base) -> Any:
    """The base alone, on this rank's device, in evaluation mode.

    Raises:
        FinetuneError: transformers cannot load it; its own reason stands in the message.
    """
    quantization = quantization_config(base)
    # On its device from the start: beside a GPU there may be less memory than on it.
    config = read_config(base)
    quantized = quantization or own_quantization(config)
    direct = quantized or not (on_cpu() or one_format())
    # Given as None they would take a checkpoint's own away.
    given = {"quantization_config": quantization, "attn_implementation": attention(base, config)}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            source(base),
            revision=base.revision,
            dtype=dtype(base.dtype),
            device_map={"": device()} if direct else None,
            trust_remote_code=False,
            use_safetensors=True,
            **{name: value for name, value in given.items() if value is not None},
        )
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise _not_loaded(base, error) from error
    _compute_exactly(model)
    make_room(model, base)
    return (model if direct else model.to(device())).eval()


def _not_loaded(base: Base, error: Exception) -> FinetuneError:
    what = f"the base cannot be loaded: {_reason(error)}"
    remedy = (
        "Give base.model a built-in name, a folder that save_pretrained wrote (safetensors), or a "
        "hub id."
    )
    if isinstance(error, SafetensorError):
        remedy = "Copy or download the base again: a file of it is not whole."
    elif "use_safetensors" in str(error):
        what = "the base has no weights as safetensors; pickles (.bin) can run code"
        remedy = "Load it once where you trust it and call save_pretrained, then give that folder."
    return FinetuneError(what, where=str(base.model), remedy=remedy)


def _compute_exactly(model: Any) -> None:
    """Keep bitsandbytes 0.50 from its packed 4-bit kernel on CPUs with AVX512-BF16.

    In evaluation mode that kernel rounds to bfloat16 whatever the compute type, and the weights
    stay packed when training goes on, where it has no gradient.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def read_config(base: Base) -> Any:
    """The base's own config.

    Raises:
        FinetuneError: transformers cannot read it or does not know the architecture, or there is
            no such base here or on the hub.
    """
    if base.config is not None:  # random weights to come: there is no file yet
        fields = dict(base.config)
        return AutoConfig.for_model(fields.pop("model_type"), **fields)
    try:
        return AutoConfig.from_pretrained(
            source(base), revision=base.revision, trust_remote_code=False
        )
    except Exception as error:
        if isinstance(error, OSError) and not is_local(base.model or ""):
            raise unreachable(base, error) from error
        raise FinetuneError(
            f"its config.json cannot be used: {_reason(error)}",
            where=f"base.model: {base.model}",
            remedy="Take a base of an architecture that transformers itself has; code that comes "
            "with a base is not run.",
        ) from error


def check_base(base: Base) -> None:
    """Find out, without its weights, whether the base can be opened here.

    Raises:
        FinetuneError: its config cannot be used, or its number format or the attention asked for
            needs what is not here.
    """
    config = read_config(base)
    check_attention(base, config)
    own = own_quantization(config)
    if own and base.quantization:
        raise FinetuneError(
            f"this checkpoint is quantised already ({own['quant_method']})",
            where="base.quantization",
            remedy="Take base.quantization out: such a base is opened as it is.",
        )
    if not own:
        return
    from transformers.quantizers import AutoHfQuantizer

    try:
        AutoHfQuantizer.from_config(own).validate_environment(device_map={"": device()})
    except Exception as error:  # each format has checks of its own
        raise FinetuneError(
            f"this checkpoint is quantised with {own['quant_method']}, which cannot be opened "
            f"here: {_reason(error)}",
            where=f"base.model: {base.model}",
            remedy="Install what it asks for, or take the unquantised model with "
            "`base.quantization: {load_in_4bit: true}`.",
        ) from error


def own_quantization(config: Any) -> dict[str, Any]:
    """How a checkpoint says that it is quantised (GPTQ, AWQ, …); empty when it is not."""
    found = getattr(config, "quantization_config", None) or {}
    return dict(found if isinstance(found, dict) else found.to_dict())


def empty_model(base: Base) -> Any:
    """The base's architecture without weights, on torch's `meta` device: it takes no memory."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(read_config(base))


def new_base(base: Base, vocab_size: int, seed: int) -> Any:
    """A base of random weights in the shape of `base.config`.

    Raises:
        FinetuneError: the architecture's config class refuses the fields.
    """
    fields = dict(base.config or {})
    kind = fields.pop("model_type")
    try:
        config = AutoConfig.for_model(kind, vocab_size=vocab_size, **fields)
        set_seed(seed)
        model = AutoModelForCausalLM.from_config(
            config, dtype=dtype(base.dtype), attn_implementation=attention(base, config)
        )
    except Exception as error:
        raise FinetuneError(
            f"no model of this shape can be made: {_reason(error)}", where="base.config"
        ) from error
    return model.to(device())


def open_model(ref: ModelRef, *, trainable: bool = False) -> Any:
    """The base with the reference's adapters on it; of these only the uppermost can train.

    Raises:
        FinetuneError: the base cannot be opened, or the adapters were trained on another one.
    """
    base = open_base(ref.base)
    check_identity(ref)
    return put_adapters(base, ref.adapters, trainable=trainable)


def quantization_config(base: Base) -> BitsAndBytesConfig | None:
    """The library's own config; computing in the base's format unless the recipe says otherwise."""
    if not base.quantization:
        return None
    settings: Settings = dict(base.quantization)
    if settings.get("load_in_4bit"):
        settings.setdefault("bnb_4bit_compute_dtype", compute_dtype(base.dtype))
    return BitsAndBytesConfig(**settings)


def context_length(model: Any) -> int | None:
    """Most positions that a model (or a config) takes; None when its config names no bound."""
    config = getattr(model, "config", model)
    names = ("max_position_embeddings", "max_seq_len", "n_positions")
    return next((getattr(config, name) for name in names if getattr(config, name, None)), None)


def parameter_count(model: Any, *, trainable: bool = False) -> int:
    """Parameters of a model; a 4-bit one counts what its packed bytes stand for."""
    if trainable:
        return sum(size(p) for p in model.parameters() if p.requires_grad)
    return int(model.num_parameters())


def are_finite(model: Any) -> bool:
    """Whether every trained weight that this process holds is a number still."""
    trained = (shard(p) for p in model.parameters() if p.requires_grad)
    return all(bool(torch.isfinite(p).all()) for p in trained)


def free_memory() -> None:
    """Give back what a closed model held: on the accelerator, and what malloc keeps for later."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def keep_no_freed_blocks() -> None:
    """Have glibc's malloc give blocks of 128 KiB and more back as soon as they are freed.

    So it does at first, but raises that bound up to 32 MiB as they come; from then on what is freed
    stays between blocks that are kept. Asking the system for each costs time.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 128 * 1024)


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
