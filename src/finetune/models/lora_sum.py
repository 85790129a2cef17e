"""LoRA's part of a layer, scaled and added in one product.

PEFT computes `result + lora_B(lora_A(x)) * scaling`: the product, its scaling and the sum each
write a tensor as large as the layer's output, and so does the way back. A matrix product can take
all three in (BLAS's gemm: alpha * A @ B + C). Training alone uses it; what is saved is the same.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear, Linear4bit, Linear8bitLt
from peft.tuners.lora.layer import LoraVariant

from finetune.models.distributed import in_shards


class InOneProduct(LoraVariant):
    """PEFT's own extension point: a layer's forward with one of its adapters at work."""

    @staticmethod
    def forward(
        module: Any, active_adapter: str, x: torch.Tensor, result: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        """`result` (..., out) with the adapter's part of `x` (..., in) on top."""
        lora_b, scaling = module.lora_B[active_adapter], module.scaling[active_adapter]
        low = module.lora_A[active_adapter](module.lora_dropout[active_adapter](x))
        # One of two formats would be rounded; shards are gathered for a module that is called.
        if low.dtype != result.dtype or in_shards(lora_b.weight):
            return result + lora_b(low) * scaling
        flat = torch.addmm(
            result.flatten(0, -2), low.flatten(0, -2), lora_b.weight.t(), alpha=scaling
        )
        return flat.view(result.shape)


def add_in_one_product(model: Any) -> None:
    """Have every plain LoRA layer of the model do so, for all of its adapters.

    What PEFT computes otherwise (DoRA, a bias of B, layers of other quantizers) stays as it is.
    """
    for layer in model.modules():
        if not isinstance(layer, (Linear, Linear4bit, Linear8bitLt)):
            continue
        for name, lora_b in layer.lora_B.items():
            if lora_b.bias is None:
                layer.lora_variant.setdefault(name, InOneProduct())
