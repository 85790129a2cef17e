"""A package in liger-kernel's place: norms of llama by torch, or by something else."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType


def install(monkeypatch, kernel=None):
    """Have transformers and finetune take it for Liger, where Triton's interpreter is asked for.

    `kernel` makes a norm's forward of its plain one; it is the plain one itself otherwise.
    """
    kernel = kernel or (lambda plain: plain)

    def apply_liger_kernel_to_llama(
        rope=True, cross_entropy=False, fused_linear_cross_entropy=True, rms_norm=True, model=None
    ):
        from transformers.models.llama import modeling_llama

        assert not (cross_entropy or fused_linear_cross_entropy)
        if rope:
            modeling_llama.apply_rotary_pos_emb = kernel(modeling_llama.apply_rotary_pos_emb)
        if rms_norm:
            for layer in model.model.layers:
                norm = layer.input_layernorm
                norm.forward = kernel(norm.forward)

    ways = {"llama": apply_liger_kernel_to_llama}

    def _apply_liger_kernel_to_instance(model, **parts):
        ways[model.config.model_type](model=model, **parts)

    names = ("liger_kernel", "liger_kernel.transformers", "liger_kernel.transformers.monkey_patch")
    modules = {name: ModuleType(name) for name in names}
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, None)
        module.MODEL_TYPE_TO_APPLY_LIGER_FN = ways
        module._apply_liger_kernel_to_instance = _apply_liger_kernel_to_instance
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("transformers.integrations.liger.is_liger_kernel_available", lambda: True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
