"""What a training stage leaves on disk: safetensors with the tokenizer and its chat template."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.job import Job, ModelRef
from finetune.models.distributed import trained_weights
from finetune.ranks import is_main


def save_adapter(model: Any, tokenizer: Any, job: Job) -> ModelRef:
    """Save the trained adapter where plain `PeftModel.from_pretrained` finds it."""
    folder = job.out / "adapter"
    weights = trained_weights(model)
    if is_main():
        model.save_pretrained(folder, selected_adapters=["default"], state_dict=weights)
        tokenizer.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card says nothing
    return replace(job.model, adapters=(*job.model.adapters[:-1], folder))


def save_model(trainer: Any, tokenizer: Any, job: Job) -> ModelRef:
    """Save all weights; every rank takes part, since they may hold only shards."""
    folder = job.out / "model"
    trainer.save_model(str(folder))
    if is_main():
        tokenizer.save_pretrained(folder)
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle: not for shipping
    return ModelRef(base=trained_base(job, folder))


def trained_base(job: Job, folder: Path) -> Any:
    """The base of the stages after: the folder just written, read in the same number format."""
    return replace(
        job.model.base,
        model=str(folder),
        revision=None,
        quantization=None,
        chat_template=None,
        config=None,
        tokenizer=None,
    )
