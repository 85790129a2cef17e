"""An adapter folded into its base layer by layer, by PEFT's own `merge` of each layer.

The adapter is put on a skeleton: the base's architecture with weights that take no memory. A
layer's weights are read when its turn comes, merged in float32, rounded once, and written. So the
most that is in memory is a shard (and a quantised base, where its rounded weights are wanted).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from finetune.errors import FinetuneError
from finetune.job import ModelRef
from finetune.models.adapters import is_quantized
from finetune.models.hardware import dtype
from finetune.models.identity import check_identity
from finetune.models.load import empty_model, open_base, own_quantization, read_config
from finetune.models.shards import LIMIT, Shards, ShardWriter, tensor_names
from finetune.models.stack import put_adapters
from finetune.models.tokenizers import source
from finetune.recipe.types import Base

# Kinds of adapters whose layers merge alone. Others (OSF, and LoRA that started from the base's
# singular vectors) are made from the base's weights when they are put on it, so they need all.
BY_LAYER = {
    *("ADALORA", "BOFT", "C3A", "DELORA", "FOURIERFT", "GRALORA", "HRA", "IA3", "LN_TUNING"),
    *("LOHA", "LOKR", "LORA", "MISS", "OFT", "RANDLORA", "VBLORA", "VERA", "WAVEFT"),
}
PLAIN_STARTS = {True, False, "gaussian", "orthogonal", "eva"}

Weights = Callable[[str], torch.Tensor]  # a base's tensor by its name
PREFIX = "base_model.model."  # what PEFT puts before the base's names


def merge(ref: ModelRef, onto: str, folder: Path, limit: int = LIMIT) -> str:
    """Write base and adapter as one model; returns how: `by layer`, or `whole`.

    Whole models are merged in memory where an adapter needs all weights to be put on, and where
    the names on disk are not those in memory, as of mixtures of experts, which loading fuses, or
    where the embeddings have more rows in memory than on disk.

    Raises:
        FinetuneError: PEFT cannot merge this kind of adapter.
    """
    for adapter in ref.adapters:
        _check_mergeable(adapter)
    check_base_merges(ref.base, onto)
    check_identity(ref)
    empty = empty_model(ref.base)
    shards = Shards.of_base(ref.base)
    tied = dict(getattr(empty, "all_tied_weights_keys", None) or {})
    names = list(empty.state_dict())
    unlike = any(name not in shards and tied.get(name) not in shards for name in names)
    if unlike or ref.base.add_tokens or not merges_by_layer(ref.adapters):
        _merge_whole(ref, onto, folder)
        return "whole"
    if onto == "dequantized" and (ref.base.quantization or own_quantization(read_config(ref.base))):
        weights = _dequantized(open_base(ref.base))
    else:
        weights = _from_disk(shards, tied)
    peft = put_adapters(on_skeleton(empty, ref.adapters), ref.adapters)
    writer, target = ShardWriter(folder, limit), dtype(ref.base.dtype)
    ends: dict[str, torch.Tensor] = {}  # both sides of tied weights, compared at the end
    for name, tensor in _merged(peft, names, weights):
        rounded = tensor.to(target) if tensor.is_floating_point() else tensor
        if name in tied or name in tied.values():
            ends[name] = rounded
        else:
            writer.add(name, rounded)
    untied = _write_tied(writer, ends, tied)
    writer.close()
    _write_configs(ref.base, empty, folder, untied)
    return "by layer"


def check_base_merges(base: Base, onto: str) -> None:
    """Refuse a base without weights that an adapter can be added to.

    Raises:
        FinetuneError: its checkpoint holds them packed.
    """
    method = own_quantization(read_config(base)).get("quant_method")
    if method is None or (method == "bitsandbytes" and onto == "dequantized"):
        return
    onto_rounded = "`onto: dequantized`, or " if method == "bitsandbytes" else ""
    raise FinetuneError(
        f"nothing can be merged into the packed weights of this checkpoint ({method})",
        where=f"base.model: {base.model}",
        remedy=f"Take {onto_rounded}the adapter as it is (`export: {{formats: [adapter]}}`), or "
        "train on the unquantised model with `base.quantization`.",
    )


def merges_by_layer(adapters: Sequence[Path]) -> bool:
    """Whether each layer of these adapters can be put on and merged without the others."""
    configs = [_config(adapter) for adapter in adapters]
    starts = {getattr(config, "init_lora_weights", True) for config in configs}
    return {config.peft_type.value for config in configs} <= BY_LAYER and starts <= PLAIN_STARTS


def _config(adapter: Path) -> Any:
    from peft import PeftConfig

    return PeftConfig.from_pretrained(str(adapter))


def _from_disk(shards: Shards, tied: dict[str, str]) -> Weights:
    return lambda name: shards.read(name if name in shards else tied[name])


def _dequantized(model: Any) -> Weights:
    """The base's weights as the adapter was trained on: quantised, and taken back."""
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight
    from transformers.pytorch_utils import Conv1D

    def weights(name: str) -> torch.Tensor:
        owner, _, last = name.rpartition(".")
        module = model.get_submodule(owner)
        tensor = getattr(module, last)
        if type(tensor).__name__ in ("Params4bit", "Int8Params"):
            tensor = dequantize_bnb_weight(tensor, getattr(module, "state", None))
            # Conv1D lies transposed; transformers quantises it as a Linear of the same meaning.
            tensor = tensor.T if module.source_cls is Conv1D else tensor
        return tensor.detach().to("cpu", copy=True)

    return weights


def on_skeleton(empty: Any, adapters: Sequence[Path]) -> Any:
    """The model with weights that take no memory, ready to have these adapters put on it.

    Every weight is one zero seen many times over. What the adapters' own files replace (biases,
    resized embeddings) is real, and NaN until then, as are vectors, which cost nothing.
    """
    replaced = {_plain(name.removeprefix(PREFIX)) for each in adapters for name in _names(each)}
    for path, parameter in list(empty.named_parameters(remove_duplicate=False)):
        owner, _, last = path.rpartition(".")
        real = path in replaced or parameter.dim() < 2
        setattr(empty.get_submodule(owner), last, _placeholder(parameter.shape, real))
    for path, buffer in list(empty.named_buffers(remove_duplicate=False)):
        owner, _, last = path.rpartition(".")
        setattr(empty.get_submodule(owner), last, torch.zeros(buffer.shape, dtype=buffer.dtype))
    return empty


def _check_mergeable(adapter: Path) -> None:
    config = _config(adapter)
    if config.is_prompt_learning or config.is_adaption_prompt:
        raise FinetuneError(
            f"{config.peft_type.value} adds to the input, not to weights: nothing can be merged",
            where=str(adapter),
            remedy="Use the adapter on its base as it is.",
        )


def _names(adapter: Path) -> list[str]:
    return tensor_names(adapter / "adapter_model.safetensors")


def _placeholder(shape: torch.Size, real: bool = False) -> torch.nn.Parameter:
    data = torch.full(shape, float("nan")) if real else torch.zeros(()).expand(shape)
    return torch.nn.Parameter(data, requires_grad=False)


def _is_placeholder(tensor: torch.Tensor) -> bool:
    if tensor.dim() >= 2 and not any(tensor.stride()):
        return True
    return bool(tensor.is_floating_point() and tensor.isnan().any())


def _merged(peft: Any, names: list[str], weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the merged model, those of one layer together."""
    model = peft.base_model.model
    wrapped = _wrapped(model)
    inside: dict[str, str] = {}
    for path, module in wrapped.items():
        inside.update({f"{path}.{name}": path for name, _ in _core(module).named_parameters()})
    plain = {_plain(name): parameter for name, parameter in model.named_parameters()}
    done: set[str] = set()
    for name in names:
        path = inside.get(name, "")
        if not path:
            own = plain.get(name)
            yield name, weights(name) if own is None or _is_placeholder(own) else own.data
        elif path not in done:
            done.add(path)
            yield from _merge_layer(path, wrapped[path], weights)


def _wrapped(model: Any) -> dict[str, Any]:
    """PEFT's outermost layers, by the name of the layer that each stands for."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        above = path.rpartition(".")[0]
        if any(f"{above}.".startswith(f"{each}.") for each in found):
            continue
        if hasattr(module, "base_layer") or hasattr(module, "unload_and_optionally_merge_module"):
            found[path] = module
    return found


def _core(module: Any) -> Any:
    """The base's own layer below PEFT's."""
    if hasattr(module, "original_module"):
        return module.original_module
    return module.get_base_layer()


def _merge_layer(path: str, module: Any, weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """Give a layer its weights, merge it, take them out and let them go."""
    core = _core(module)
    for name, parameter in core.named_parameters():
        if _is_placeholder(parameter):
            parameter.data = weights(f"{path}.{name}").float()
    if hasattr(module, "unload_and_optionally_merge_module"):
        merged = module.unload_and_optionally_merge_module(
            merge=True, safe_merge=True, adapter_names=None
        )
    else:
        module.merge(safe_merge=True)
        merged = module.get_base_layer()
    for name, parameter in merged.named_parameters():
        yield f"{path}.{name}", parameter.data
    for parameter in core.parameters():
        parameter.data = torch.zeros(()).expand(parameter.shape)


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "base_layer")


def _write_tied(writer: ShardWriter, ends: dict[str, torch.Tensor], tied: dict[str, str]) -> bool:
    """Write tied weights once where they are equal still; else each, and say so."""
    untied = any(not torch.equal(ends[name], ends[tied[name]]) for name in ends if name in tied)
    for name, tensor in ends.items():
        if untied or name not in tied:
            writer.add(name, tensor.clone())
    return untied


def _write_configs(base: Base, empty: Any, folder: Path, untied: bool) -> None:
    from transformers import GenerationConfig

    config = read_config(base)
    config.architectures = [type(empty).__name__]
    config.dtype = dtype(base.dtype)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    if untied:
        config.tie_word_embeddings = False
    config.save_pretrained(folder)
    try:
        generation = GenerationConfig.from_pretrained(
            source(base), revision=base.revision or "main"
        )
    except OSError:
        generation = GenerationConfig.from_model_config(config)
    generation.save_pretrained(folder)


def _merge_whole(ref: ModelRef, onto: str, folder: Path) -> None:
    if onto == "full_precision":
        model = open_base(replace(ref.base, quantization=None))
    else:
        model = open_base(ref.base)
        if is_quantized(model):
            model = model.dequantize(dtype=model.dtype)
    whole = put_adapters(model, ref.adapters).merge_and_unload(safe_merge=True)
    whole.save_pretrained(folder)
