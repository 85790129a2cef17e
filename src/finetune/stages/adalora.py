"""AdaLoRA's own step (Zhang et al. 2023): after each update ranks go to where they matter most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peft import PeftType
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetune.errors import FinetuneError
from finetune.models.stack import TOP

WEIGHTS, RANKS = "importance.safetensors", "ranks.json"
AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")  # of PEFT's allocator: what it has seen so far


class AllocateRanks(TrainerCallback):
    """Calls PEFT's allocator where its documentation says, and keeps its averages in checkpoints.

    Without them a resumed run would judge importance by what came after the interruption alone.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.base_model

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Tell how many steps there are; take up the averages of an interrupted run."""
        config = self.model.peft_config[TOP]
        if config.tinit >= state.max_steps - config.tfinal:
            raise FinetuneError(
                f"{state.max_steps} steps leave none between tinit {config.tinit} and the last "
                f"{config.tfinal} (tfinal), in which ranks are given",
                where="peft",
                remedy="Lower peft.tinit and peft.tfinal, or train longer.",
            )
        self.model.rankallocator.set_total_step(state.max_steps)
        if state.global_step:
            self._read(_folder(args, state))

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """After the update, while gradients are there."""
        self.model.update_and_allocate(state.global_step + 1)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Keep the averages and the ranks beside the weights."""
        if not args.should_save:
            return
        allocator, folder = self.model.rankallocator, _folder(args, state)
        tensors = {f"{k}/{n}": t for k in AVERAGES for n, t in getattr(allocator, k).items()}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)
        ranks = self.model.peft_config[TOP].rank_pattern
        (folder / RANKS).write_text(json.dumps(ranks), encoding="utf-8")

    def _read(self, folder: Path) -> None:
        allocator, config = self.model.rankallocator, self.model.peft_config[TOP]
        allocator.reset_ipt()
        device = next(self.model.parameters()).device
        for name, tensor in load_file(folder / WEIGHTS).items():
            kind, _, parameter = name.partition("/")
            getattr(allocator, kind)[parameter] = tensor.to(device)
        config.rank_pattern = json.loads((folder / RANKS).read_text("utf-8"))


def is_adalora(model: Any) -> bool:
    """Whether the adapter that trains is of this method."""
    config = getattr(model, "peft_config", {}).get(TOP)
    return config is not None and config.peft_type == PeftType.ADALORA


def _folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
