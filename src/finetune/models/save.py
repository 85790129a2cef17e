"""What a training stage leaves on disk: safetensors with the tokenizer and its chat template."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from peft import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from finetune.data.tokens import stop_ids
from finetune.job import Job, ModelRef
from finetune.models.distributed import trained_weights
from finetune.models.stack import TOP
from finetune.ranks import is_main
from finetune.recipe.types import Base

WEIGHTS = "adapter_model.safetensors"


def save_adapter(model: Any, tokenizer: Any, folder: Path, start: Path | None = None) -> None:
    """Save the trained adapter where plain `PeftModel.from_pretrained` finds it.

    With `start`, what the adapter began with is subtracted from it: the base that later stages
    open still has it.
    """
    weights = trained_weights(model)
    if not is_main():
        return
    # Embeddings are never trained whole without being named in modules_to_save.
    saving: dict[str, Any] = {"selected_adapters": [TOP], "save_embedding_layers": False}
    if start is None:
        model.save_pretrained(folder, state_dict=weights, **saving)
    else:
        _save_change(model, folder, start, saving)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card says nothing


def _save_change(model: Any, folder: Path, start: Path, saving: dict[str, Any]) -> None:
    """PEFT's conversion to the difference of two adapters, and what it leaves out but A and B."""
    model.save_pretrained(folder, **saving, path_initial_model_for_weight_conversion=str(start))
    whole = get_peft_model_state_dict(model, adapter_name=TOP, save_embedding_layers=False)
    saved = load_file(folder / WEIGHTS)
    missing = {name: tensor.contiguous() for name, tensor in whole.items() if name not in saved}
    if missing:
        save_file({**saved, **missing}, folder / WEIGHTS, metadata={"format": "pt"})
    shutil.rmtree(start)


def save_model(trainer: Any, tokenizer: Any, job: Job) -> ModelRef:
    """Save all weights; every rank takes part, since they may hold only shards."""
    folder = job.out / "model"
    trainer.save_model(str(folder))
    if is_main():
        save_tokenizer(tokenizer, folder)
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle: not for shipping
    return ModelRef(base=written_base(job.model.base, folder))


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """The tokenizer with its template, beside a whole model, and what stops an answer.

    Servers stop at `eos_token_id` of generation_config.json, and a base's is often another token
    than the one its chat template ends an answer with.
    """
    tokenizer.save_pretrained(folder)
    file = folder / "generation_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    settings["eos_token_id"] = stop_ids(tokenizer)
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def written_base(base: Base, folder: Path) -> Base:
    """A base that was written into a folder: all it needs lies there, in full precision."""
    return replace(
        base,
        model=str(folder),
        revision=None,
        quantization=None,
        chat_template=None,
        config=None,
        tokenizer=None,
        add_tokens=(),
    )
