"""Liger's kernels beside the plain model, on a CPU: Triton's interpreter runs them line by line.

    pip install --target /tmp/liger --no-deps liger-kernel triton
    PYTHONPATH=/tmp/liger python benchmarks/liger.py --write docs/results/liger.md

Small models of random weights, one per architecture, with all weights training, with LoRA, and with
LoRA on 4 bits: how far states and gradients move when the kernels are put in, as `finetune run`
measures it before the first step. The second table tells what rounding does by itself.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from shapes import FORMATS, make_base

from finetune.console import say
from finetune.errors import FinetuneError
from finetune.models import kernels
from finetune.models.configs import lora_config, place
from finetune.models.load import open_base
from finetune.recipe.types import Base

KINDS = ("llama", "mistral", "qwen3", "gemma2", "phi3", "mixtral")
# Its experts' kernel asks for a GPU; where LoRA is on them, PEFT's wrapper is in its way.
LEFT_OUT = {"mixtral": {"swiglu": False}}
DEEP = {"num_hidden_layers": 32, "hidden_size": 128, "intermediate_size": 512}
TRAINED = ("tiny-mistral", "tiny-mistral")


def interpret() -> None:
    """Mend what Triton 3.9's interpreter lacks: numbers as arguments, CUDA's rsqrt and tanh."""
    import liger_kernel.ops.geglu as gates
    import liger_kernel.ops.rms_norm as norms
    import triton.language as tl
    from triton.runtime import interpreter

    plain = interpreter._implicit_cvt

    def convert(value: object) -> object:
        if isinstance(value, float):
            handle = interpreter.TensorHandle(np.array([value], dtype=np.float32), tl.float32)
            return tl.tensor(handle, tl.float32)
        return plain(value)

    interpreter._implicit_cvt = convert
    norms.rsqrt = lambda x: 1.0 / tl.sqrt(x)
    gates.tanh = lambda x: 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0)


def opened(folder: Path | str, fmt: str, trained: str, **more: object) -> object:
    """A base in a number format, with all weights to train or an adapter."""
    model = open_base(Base(model=str(folder), **{**FORMATS[fmt], **more}))
    torch.manual_seed(0)
    if trained == "LoRA":
        return place(model, lora_config({"r": 4, "init_lora_weights": "gaussian"}))
    return model.requires_grad_(True)


def with_kernels(model: object, parts: dict[str, bool]) -> str:
    """How far the numbers moved, or what the stage would say of it."""
    seen: list[float] = []
    measure = kernels._Reading.gap
    kernels._Reading.gap = lambda self, other: seen.append(measure(self, other)) or seen[-1]
    whole = model.get_base_model() if hasattr(model, "peft_config") else model
    take_out = kernels._way_back(whole)
    try:
        settings = {"use_liger_kernel": True, "liger_kernel_config": parts}
        told = kernels.put_kernels(model, settings, None, "sft")
    except FinetuneError as error:
        told = str(error).splitlines()[0].rpartition(": ")[2]
    finally:
        kernels._Reading.gap = measure
        take_out()  # names in transformers' module, for the next of its kind
    return f"{seen[0]:.1e}" if told == "Liger kernels" else told


def rounding(base: Path | str, fmt: str) -> str:
    """How far the numbers move by another order of sums, and by the last bit of the first."""
    ways = ("sdpa", "eager")
    models = (opened(base, fmt, "LoRA", attn_implementation=way) for way in ways)
    one, other = (each.get_base_model() for each in models)
    plain = kernels._reading(one, None)
    bit = kernels._reading(one, None, moved=True).gap(plain)
    return f"{kernels._reading(other, None).gap(plain):.1e} | {bit:.1e}"


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    interpret()
    names = ("liger-kernel", "triton", "torch", "transformers")
    lines = [
        "# Liger's kernels beside the plain model",
        "",
        f"`python benchmarks/liger.py` with {', '.join(f'{n} {version(n)}' for n in names)}, in "
        f"Triton's interpreter on a CPU, {date.today()}. The largest of three distances, each "
        "relative: last states, gradient of the first states, lengths of the gradients of trained "
        "weights.",
        "",
        "| model | all weights, float32 | LoRA, float32 | LoRA, NF4 |",
        "|---|---|---|---|",
    ]
    say("\n".join(lines))
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            base = make_base(kind, Path(folder) / kind)
            ways = (("fp32", "all"), ("fp32", "LoRA"), ("nf4", "LoRA"))
            parts = LEFT_OUT.get(kind, {})
            cells = [with_kernels(opened(base, *way), parts) for way in ways]
            name = ", without ".join((kind, *parts))
            lines.append(f"| {name} | {' | '.join(cells)} |")
            say(lines[-1])
            gc.collect()
        shallow = make_base("llama", Path(folder) / "shallow")
        deep = make_base("llama", Path(folder) / "deep", **DEEP)
        lines += [
            "",
            "Without the kernels: how far numbers move by eager attention in place of sdpa, and by "
            "the last bit of the first states, which is what the proof takes for rounding (LoRA).",
            "",
            "| model | format | eager attention | last bit |",
            "|---|---|---|---|",
        ]
        say("\n".join(lines[-5:]))
        for name, base in (("llama, 2 layers", shallow), ("llama, 32 layers", deep), TRAINED):
            for fmt in ("fp32", "bf16", "nf4"):
                lines.append(f"| {name} | {fmt} | {rounding(base, fmt)} |")
                say(lines[-1])
    if options.write:
        options.write.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
