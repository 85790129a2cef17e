"""Models without numbers: the library's own classes on fake tensors, weights packed or not.

Fake tensors have shape, type and device; every operation, backward included, runs on them in a
moment and takes no memory. So what a step holds is read off the step itself, on any architecture.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from bitsandbytes import MatmulLtState
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from peft import get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module

from finetune.memory.experts import freeze_all_but
from finetune.memory.live import Live
from finetune.memory.parts import packed
from finetune.models.load import read_config
from finetune.models.lora_sum import add_in_one_product
from finetune.models.stack import TOP, keep_at_work, lower
from finetune.recipe.tuning import Esft
from finetune.recipe.types import Base


def hollow_base(base: Base, dtype: torch.dtype, layers: int | None = None) -> Any:
    """The base as `open_base` would give it, on torch's `meta` device, its packed layers included.

    With `layers` it has so many, in place of its own.

    Raises:
        FinetuneError: transformers cannot read the config.
    """
    config = read_config(base)
    if layers is not None:
        text = config.get_text_config()
        text.num_hidden_layers = layers
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:layers]
    with torch.device("meta"):
        # FlashAttention keeps what sdpa keeps; eager keeps the scores.
        eager = "eager" if base.attn_implementation == "eager" else None
        model: Any = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=eager
        )
        if base.quantization:
            _pack(model, BitsAndBytesConfig(**base.quantization), dtype)
    for parameter in model.parameters():
        parameter.requires_grad_(not base.quantization)
        parameter.of_base = True
    return model.eval()


def put_on(model: Any, configs: Sequence[Any]) -> Any:
    """The model with adapters of these configs on it, all at work, the last one to train.

    In an adapter's place experts may be named that train (`Esft`).
    """
    if configs and isinstance(configs[0], Esft):
        return freeze_all_but(model, configs[0])
    below = [lower(position) for position in range(len(configs) - 1)]
    own = copy.deepcopy(configs)  # PEFT writes the layers it found into them
    for name, config in zip([*below, TOP], own, strict=False):  # without any, TOP is none
        if hasattr(model, "peft_config"):
            model.add_adapter(name, config)
        else:
            model = get_peft_model(model, config, adapter_name=name)
    if below:
        keep_at_work(model, below)
        model.set_adapter(TOP)
    add_in_one_product(model)
    return model


def to_cpu(model: Any, live: Live) -> None:
    """Give every weight a place, within `FakeTensorMode`: there it takes none, and is counted."""
    moved: dict[Any, Any] = {}  # tied weights stay one
    for module in model.modules():
        for name, each in module._parameters.items():
            if each is None:
                continue
            if each not in moved:
                live.turn("weights" if hasattr(each, "of_base") else "adapter")
                new = torch.empty(each.shape, dtype=each.dtype)
                moved[each] = torch.nn.Parameter(new, requires_grad=each.requires_grad)
                moved[each].__dict__.update(each.__dict__)  # what packed layers say of theirs
            module._parameters[name] = moved[each]
        live.turn("weights")
        for name, each in module._buffers.items():
            if each is not None:
                module._buffers[name] = torch.empty(each.shape, dtype=each.dtype)


def _pack(model: Any, config: BitsAndBytesConfig, dtype: torch.dtype) -> None:
    """Put packed layers in place of those that transformers quantises."""
    bits = 4 if config.load_in_4bit else 8
    spared = HfQuantizer.get_modules_to_not_convert(
        model, config.llm_int8_skip_modules, model._keep_in_fp32_modules
    )
    for path, module in list(model.named_modules()):
        if type(module) in (torch.nn.Linear, Conv1D) and should_convert_module(path, spared):
            model.set_submodule(path, _packed(module, bits, config, dtype))
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = bits == 4, bits == 8


def _packed(module: Any, bits: int, config: BitsAndBytesConfig, dtype: torch.dtype) -> Any:
    turned = isinstance(module, Conv1D)
    rows, columns = module.weight.shape[::-1] if turned else module.weight.shape
    layer: Any = (Packed4bit if bits == 4 else Packed8bit).__new__(
        Packed4bit if bits == 4 else Packed8bit
    )
    torch.nn.Module.__init__(layer)
    layer.in_features, layer.out_features = columns, rows
    layer.compute_dtype = dtype
    layer.bias = module.bias
    size = packed(rows * columns, bits, double=config.bnb_4bit_use_double_quant, rows=rows)
    kind = torch.uint8 if bits == 4 else torch.int8
    layer.weight = torch.nn.Parameter(torch.empty(size, dtype=kind), requires_grad=False)
    # What PEFT reads off a layer to build its own for it.
    layer.weight.compress_statistics = config.bnb_4bit_use_double_quant
    layer.weight.quant_type = config.bnb_4bit_quant_type
    layer.state, layer.index = MatmulLtState(), None
    return layer


class Unpacked(torch.autograd.Function):
    """A product with weights unpacked for it, and again for the gradient, as bitsandbytes does."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: Any, keep: bool) -> torch.Tensor:
        """(…, in) to (…, out); `keep`: the input stays until the backward pass (8 bits on CPUs)."""
        ctx.layer, ctx.kept = layer, x if keep else None
        weight = x.new_empty(layer.out_features, layer.in_features)
        return torch.nn.functional.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Of the input alone: the weights are frozen."""
        gradient = gradients[0]
        weight = gradient.new_empty(ctx.layer.out_features, ctx.layer.in_features)
        return gradient @ weight, None, None


class Packed4bit(Linear4bit):
    """A layer in 4 bits whose weights have a size and no numbers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) to (…, out), computed in the layer's type."""
        out: Any = Unpacked.apply(x.to(self.compute_dtype), self, False)
        return (out if self.bias is None else out + self.bias).to(x.dtype)


class Packed8bit(Linear8bitLt):
    """A layer in 8 bits whose weights have a size and no numbers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) to (…, out)."""
        out: Any = Unpacked.apply(x, self, True)
        return out if self.bias is None else out + self.bias
