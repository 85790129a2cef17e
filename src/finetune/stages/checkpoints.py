"""Checkpoints of all weights: what is trained, under its names in memory.

The Trainer (transformers 5.23) writes a checkpoint under the names that models have on disk, and
reads it by those in memory. Where loading fuses weights, as of mixtures of experts, it then goes on
with the experts of the base and only logs that names are missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from finetune.models.adapters import is_adapted
from finetune.stages.adalora import is_adalora

FILE = "trained.safetensors"


def keep_names(trainer: Any) -> None:
    """Have the trainer write and read checkpoints of all weights by their names in memory.

    Adapters have their own way (but AdaLoRA's, which PEFT writes without the ranks that are masked
    now), and weights shared out over processes that of what shares them.
    """
    own_way = is_adapted(trainer.model) and not is_adalora(trainer.model)
    if own_way or trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        return
    whole = trainer.save_model

    def save_model(output_dir: str | None = None, _internal_call: bool = False) -> None:
        if not _internal_call:
            whole(output_dir)
        elif trainer.args.should_save:
            Path(str(output_dir)).mkdir(parents=True, exist_ok=True)
            save_file(_trained(trainer.model), Path(str(output_dir)) / FILE)

    def load(checkpoint: str, model: Any = None) -> None:
        weights = load_file(Path(checkpoint) / FILE)
        for name, parameter in _parameters(trainer.model).items():
            parameter.data.copy_(weights[name])

    trainer.save_model = save_model
    trainer._load_from_checkpoint = load


def _parameters(model: Any) -> dict[str, Any]:
    return {name: each for name, each in model.named_parameters() if each.requires_grad}


def _trained(model: Any) -> dict[str, Any]:
    return {name: each.detach().contiguous() for name, each in _parameters(model).items()}
