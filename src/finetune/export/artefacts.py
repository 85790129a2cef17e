"""Writes the files of an export, one function a format; all lie in one folder, as on the hub."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from finetune.data.tokens import stop_ids
from finetune.errors import FinetuneError
from finetune.export.gguf_file import write_gguf
from finetune.export.modelfile import modelfile
from finetune.export.names import shown
from finetune.models.identity import NAME as IDENTITY
from finetune.models.load import context_length, open_base, read_config
from finetune.models.shards import Shards
from finetune.models.tokenizers import source, weights_folder
from finetune.recipe.types import Base

FOUR_BITS = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
}


def write_safetensors(base: Base, tokenizer: Any, folder: Path) -> None:
    """The weights as they are, with tokenizer, template and what ends an answer."""
    weights = Shards.of_base(base)
    folder.mkdir(parents=True, exist_ok=True)
    for file in weights.files:
        _link(file, folder / file.name)
    read_config(base).save_pretrained(folder)
    finish(base, tokenizer, folder)


def finish(base: Base, tokenizer: Any, folder: Path) -> None:
    """Tokenizer and generation config beside a model: answers end where the template ends them."""
    from transformers import GenerationConfig

    try:
        config = GenerationConfig.from_pretrained(source(base), revision=base.revision or "main")
    except OSError:
        config = GenerationConfig()
    config.eos_token_id = stop_ids(tokenizer)
    config.bos_token_id = tokenizer.bos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _link(file: Path, place: Path) -> None:
    """Share the bytes with the merged model where the disk can; nobody changes them in place."""
    place.unlink(missing_ok=True)
    try:
        os.link(file.resolve(), place)
    except OSError:
        shutil.copyfile(file, place)


def write_adapter(adapters: tuple[Path, ...], folder: Path) -> None:
    """The adapter alone, with the tokenizer that lies beside it.

    Raises:
        FinetuneError: there are several, which work only together.
    """
    if len(adapters) != 1:
        raise FinetuneError(
            f"{len(adapters)} adapters work together here, and one alone is another model",
            where="formats: adapter",
            remedy="Merge before the next one is trained, or leave `adapter` out.",
        )
    shutil.copytree(adapters[0], folder, dirs_exist_ok=True)
    for name, field in (("adapter_config.json", "base_model_name_or_path"), (IDENTITY, "model")):
        _rename_base(folder / name, field)


def _rename_base(file: Path, field: str) -> None:
    """Name the base as others may read it: not by where it lies here."""
    if file.is_file():
        told = json.loads(file.read_text("utf-8"))
        told[field] = told[field] and shown(told[field])
        file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def write_gguf_files(
    base: Base, tokenizer: Any, folder: Path, name: str, kinds: tuple[str, ...]
) -> dict[str, Path]:
    """A GGUF file for each type, by type."""
    config, where = read_config(base), weights_folder(base)
    files = {kind: folder / f"{name}-{kind.upper()}.gguf" for kind in kinds}
    folder.mkdir(parents=True, exist_ok=True)
    for kind, file in files.items():
        write_gguf(where, file, kind, config=config, tokenizer=tokenizer, name=name)
    return files


def write_modelfile(gguf: Path, tokenizer: Any, config: Any) -> None:
    """Ollama's description of a GGUF file, beside it."""
    context = context_length(SimpleNamespace(config=config))
    text = modelfile(gguf.name, tokenizer, context)
    (gguf.parent / "Modelfile").write_text(text, encoding="utf-8")


def write_bnb4(base: Base, tokenizer: Any, folder: Path) -> None:
    """The weights in 4 bits as bitsandbytes holds them: nf4, its scales quantised again."""
    model = open_base(replace(base, quantization=FOUR_BITS))
    model.save_pretrained(folder)
    finish(base, tokenizer, folder)
