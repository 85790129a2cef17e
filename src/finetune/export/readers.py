"""Exported files opened again, each in the way its users open it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune.data.examples import Message
from finetune.export import llama_cpp, round_trip
from finetune.models.hardware import device
from finetune.models.load import free_memory, read_config
from finetune.recipe.types import Base

Prompts = Sequence[Sequence[Message]]
# Answers to prompts; the tokenizer is the one to render them with where none lies beside the file.
Reader = Callable[[Any, Prompts], round_trip.Answers]

# What transformers reads from GGUF: the whole model, or its weights, given the config, of which it
# would leave fields at their defaults.
WHOLE_BY_TRANSFORMERS = ("llama", "mistral", "qwen2", "phi3")
WEIGHTS_BY_TRANSFORMERS = ("qwen3", "gemma2", "gemma3_text", "gpt2")


def from_folder(folder: Path) -> Reader:
    """As a stranger opens it: with plain transformers, and the tokenizer that lies beside it."""

    def read(tokenizer: Any, prompts: Prompts) -> round_trip.Answers:
        model: Any = AutoModelForCausalLM.from_pretrained(folder)
        beside = AutoTokenizer.from_pretrained(folder)
        return ask(model.to(device()).eval(), beside, prompts)

    return read


def ask(model: Any, tokenizer: Any, prompts: Prompts) -> round_trip.Answers:
    """Ask a model and let go of it."""
    try:
        return round_trip.ask(model, tokenizer, prompts)
    finally:
        del model
        free_memory()


def of_gguf(kind: str, file: Path, base: Base) -> dict[str, Reader | None]:
    """Every program here that reads a GGUF file, by the name that the record gives it."""
    found: dict[str, Reader | None] = {}
    if llama_cpp.is_installed():
        found[f"{kind} in llama.cpp"] = lambda tokenizer, prompts: llama_cpp.ask(
            file, tokenizer, prompts
        )
    if read_config(base).model_type in (*WHOLE_BY_TRANSFORMERS, *WEIGHTS_BY_TRANSFORMERS):
        found[kind] = lambda tokenizer, prompts: ask(_open_gguf(file, base), tokenizer, prompts)
    return found or {kind: None}


def _open_gguf(file: Path, base: Base) -> Any:
    config = read_config(base)
    given = {"config": config} if config.model_type in WEIGHTS_BY_TRANSFORMERS else {}
    with redirect_stderr(StringIO()):  # its bar obeys no setting
        model: Any = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, **given
        )
    return model.eval()
