"""Writes a model folder as one GGUF file, tensor by tensor, with the `gguf` package."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from tqdm.auto import tqdm

from finetune.errors import FinetuneError
from finetune.export.gguf_shapes import Shape, extra_tensors, shape_of
from finetune.export.gguf_vocabulary import add_vocabulary
from finetune.models.shards import Shards

BLOCK = 32  # weights that share a scale in every type here
EXPERT = re.compile(r"\.experts\.(\d+)\.")
# What llama.cpp multiplies in full precision, or looks up.
KEPT_WHOLE = ("ffn_gate_inp.weight", "position_embd.weight", "rope_freqs.weight")
# The head decides between words: with fewer than 8 bits it is kept at 8, the embedding with it.
ENDS = ("token_embd.weight", "output.weight")


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file; `read` gives its values in float32."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], torch.Tensor]

    def kind(self, wanted: GGMLQuantizationType) -> GGMLQuantizationType:
        """The type it is stored in, of a file of the type `wanted`."""
        if len(self.shape) < 2 or self.name in KEPT_WHOLE or self.name.endswith(KEPT_WHOLE):
            return GGMLQuantizationType.F32
        if gguf.GGML_QUANT_SIZES[wanted][0] == 1:
            return wanted
        if self.shape[-1] % BLOCK:
            return GGMLQuantizationType.F16
        return GGMLQuantizationType.Q8_0 if self.name in ENDS else wanted


def write_gguf(
    folder: Path, path: Path, kind: str, *, config: Any, tokenizer: Any, name: str
) -> None:
    """Write the model in `folder` to `path`; `kind` is f32, f16, bf16, q8_0, q4_0 and the like.

    Raises:
        FinetuneError: llama.cpp does not have the architecture or the tokenizer.
    """
    shape = shape_of(config)
    wanted = GGMLQuantizationType[kind.upper()]
    writer = GGUFWriter(path, gguf.MODEL_ARCH_NAMES[shape.arch])
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(file_type(kind))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    shape.describe(writer, config)
    tensors = list(_tensors(Shards.of_folder(folder), shape, config))
    rows = next(tensor.shape[0] for tensor in tensors if tensor.name == "token_embd.weight")
    add_vocabulary(writer, tokenizer, rows)
    for tensor in tensors:
        stored = tensor.kind(wanted)
        size = _bytes(tensor.shape, stored)
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), size, stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tqdm(tensors, desc=path.name, unit="tensor", disable=None, leave=False):
        values = tensor.read().float().contiguous().numpy()
        writer.write_tensor_data(gguf.quants.quantize(values, tensor.kind(wanted)))
    writer.close()


def file_type(kind: str) -> LlamaFileType:
    """GGUF's number for a file mostly of one type."""
    return LlamaFileType["ALL_F32" if kind == "f32" else f"MOSTLY_{kind.upper()}"]


def _bytes(shape: tuple[int, ...], kind: GGMLQuantizationType) -> int:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return int(np.prod(shape)) // block * size


def _tensors(shards: Shards, shape: Shape, config: Any) -> Iterator[Tensor]:
    """The file's tensors in order, under GGUF's names and as llama.cpp takes them."""
    layers = config.num_hidden_layers
    names = gguf.get_tensor_name_map(shape.arch, layers)
    experts: dict[str, list[str]] = {}
    for own in shards.names:
        if own == "lm_head.weight" and config.tie_word_embeddings:
            continue  # written by some; the embedding serves
        whole = EXPERT.sub(".experts.", own)
        name = names.get_name(whole, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise FinetuneError(
                f"the tensor {own!r} has no place in GGUF", where=f"gguf: {config.model_type}"
            )
        if whole != own:
            experts.setdefault(name, []).append(own)
        else:
            yield _tensor(name, own, shards, shape, config)
    for name, members in experts.items():
        yield _stacked(name, members, shards)
    for name, values in extra_tensors(config).items():
        yield Tensor(name, tuple(values.shape), lambda values=values: values)  # type: ignore[misc]


def _tensor(name: str, own: str, shards: Shards, shape: Shape, config: Any) -> Tensor:
    dimensions = shards.shape(own)
    turned = len(dimensions) == 2 and any(part in name for part in shape.transposed)

    def read() -> torch.Tensor:
        values = shards.read(own).float()
        return shape.change(name, values.T if turned else values, config)

    return Tensor(name, dimensions[::-1] if turned else dimensions, read)


def _stacked(name: str, members: list[str], shards: Shards) -> Tensor:
    """The experts of a layer as one tensor (experts, rows, columns)."""
    members = sorted(members, key=lambda each: int(EXPERT.search(each)[1]))  # type: ignore[index]
    dimensions = (len(members), *shards.shape(members[0]))
    return Tensor(name, dimensions, lambda: torch.stack([shards.read(each) for each in members]))
