"""What the training stages share: the library's config, the order of rows, the run itself."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import is_deepspeed_available
from peft.optimizers import create_loraplus_optimizer
from transformers.trainer_callback import PrinterCallback

from finetune.console import say
from finetune.data.order import training_order
from finetune.data.shorten import fitting
from finetune.errors import FinetuneError
from finetune.job import Job
from finetune.models.adapters import is_adapted
from finetune.models.causal import leave_masks_out
from finetune.models.hardware import device, half, on_cpu, peak_memory
from finetune.models.kernels import check_kernels
from finetune.models.load import are_finite, parameter_count, read_config
from finetune.models.lora_sum import add_in_one_product
from finetune.ranks import is_main, world_size
from finetune.recipe.types import Settings, Tuned
from finetune.stages.adalora import AllocateRanks, is_adalora
from finetune.stages.batches import split
from finetune.stages.callbacks import (
    MarkCheckpoints,
    Progress,
    StopAtNan,
    diverged,
    last_checkpoint,
)
from finetune.stages.checkpoints import keep_names
from finetune.stages.head import score_learnt_tokens_only

if is_deepspeed_available():
    import deepspeed  # noqa: F401  (accelerate imports it for every trainer: here once for all)

# Settings that the chain sees to itself; Liger's come before TRL's trainer, which deprecates them.
OURS = ("max_steps", "train_sampling_strategy", "use_liger_kernel", "liger_kernel_config")
CHECKPOINTS = "checkpoints"  # the chain removes this folder once the stage is done

# Ours where the library's default would cost time or lose something. A recipe may say otherwise.
DEFAULTS: Settings = {
    "save_steps": 0.1,
    "logging_steps": 0.02,  # of all steps: a curve has its points in a short run too
    "logging_first_step": True,
    "logging_nan_inf_filter": False,  # it shows the loss before in place of one that is lost
}


@dataclass(frozen=True)
class Plan:
    """How long to train, taken out of the settings: the rows of all epochs are laid out by us."""

    epochs: float
    strategy: str
    max_length: int | None


def plan(settings: Settings, rows: int, batch_size: int, context: int | None) -> Plan:
    """Epochs from `num_train_epochs` or `max_steps`, and the length that the model can take."""
    steps = settings.get("max_steps", -1)
    whole = batch_size * steps / rows if steps > 0 else settings.get("num_train_epochs", 3)
    strategy = settings.get("train_sampling_strategy", "group_by_length")
    return Plan(whole, strategy, fitting(settings, context))


def scratch(job: Job) -> Path:
    """Where a stage may write what only its training needs; gone when the stage is done."""
    folder = job.out / CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def order(plan: Plan, lengths: list[int], batch_size: int, seed: int) -> list[int]:
    """Row numbers over all epochs; see `training_order`."""
    return training_order(lengths, batch_size, plan.epochs, seed, plan.strategy)


def precision(settings: Settings) -> dict[str, bool]:
    """The 16-bit format that is computed in, if any: the recipe's, or what the device has."""
    return {
        "bf16": settings.get("bf16", half() is torch.bfloat16 and "fp16" not in settings),
        "fp16": settings.get("fp16", half() is torch.float16 and "bf16" not in settings),
    }


def trainer_config(kind: type, settings: Settings, batch_size: int, job: Job, **more: Any) -> Any:
    """The TRL config of a stage: the recipe's settings and what the chain decides.

    Raises:
        FinetuneError: the config class refuses a value, or kernels are asked for in vain.
    """
    check_kernels(read_config(job.model.base), settings, job.name)
    spread = split(batch_size, world_size(), device().type)
    kept = {k: v for k, v in settings.items() if k not in OURS}
    chosen = {
        **DEFAULTS,
        **precision(settings),
        **kept,
        "num_train_epochs": 1,  # all epochs lie one after another in the rows
        "train_sampling_strategy": "sequential",
        "output_dir": str(job.out / CHECKPOINTS),
        "seed": job.seed,
        "per_device_train_batch_size": spread.per_device,
        "per_device_eval_batch_size": spread.per_device,
        "gradient_accumulation_steps": spread.accumulation,
        "save_strategy": "steps",
        "save_total_limit": 2,  # the newest may be torn by a kill; the one before is whole
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": on_cpu(),
        "ddp_backend": "gloo" if on_cpu() and world_size() > 1 else None,
        "ddp_find_unused_parameters": False if world_size() > 1 else None,
        "dataloader_pin_memory": not on_cpu(),
        **more,
    }
    try:
        config = kind(**chosen)
    except (TypeError, ValueError) as error:
        raise FinetuneError(
            str(error).splitlines()[0], where=f"{job.name}.train", remedy="Correct this setting."
        ) from error
    # One process trains on one GPU. The Trainer would spread each batch over all that it sees, a
    # whole `per_device_train_batch_size` to each: another batch size than the recipe's.
    config._n_gpu = min(config.n_gpu, 1)
    return config


def adapter_rate(kind: Any, settings: Settings, model: Any, job: Job) -> Settings:
    """The learning rate of an adapter where the recipe has none: TRL's own is for all weights.

    LoRA learns best at about ten times the rate of full fine-tuning, whatever the model (Schulman
    et al. 2025, LoRA Without Regret; TRL's guide to PEFT).
    """
    if "learning_rate" in settings or not is_adapted(model):
        return {}
    rate = 10 * kind.learning_rate
    say(f"  {job.name}: learning rate {rate:.0e}: ten times TRL's, which is for all weights")
    return {"learning_rate": rate}


def attach(trainer: Any, job: Job, batch_size: float) -> None:
    """What every trainer gets alike: faster layers, progress in place of printed dictionaries,
    and checkpoint marks.
    """
    score_learnt_tokens_only()
    add_in_one_product(trainer.model)
    leave_masks_out(trainer.model)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress(job.name, batch_size))
    trainer.add_callback(StopAtNan(job.name))
    if is_adalora(trainer.model):
        trainer.add_callback(AllocateRanks(trainer.model))
    trainer.add_callback(MarkCheckpoints())  # the last: when all of a checkpoint is written
    keep_names(trainer)


def set_rates(trainer: Any, stage: Tuned) -> None:
    """Give the trainer LoRA+'s optimizer, whose B matrices learn faster, where the recipe asks."""
    if stage.loraplus is None:
        return
    kind, arguments = trainer.get_optimizer_cls_and_kwargs(trainer.args, trainer.model)
    trainer.optimizer = create_loraplus_optimizer(
        trainer.model,
        kind,
        loraplus_lr_ratio=stage.loraplus.lr_ratio,
        loraplus_lr_embedding=stage.loraplus.lr_embedding,
        loraplus_weight_decay=trainer.args.weight_decay,
        **arguments,
    )


def train(trainer: Any, job: Job, batch_size: float) -> dict[str, Any]:
    """Train on `batch_size` rows a step (their mean, where it varies), from the newest whole
    checkpoint, if there is one; returns facts for the record.
    """
    checkpoint = last_checkpoint(job.out / CHECKPOINTS)
    begun = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - begun
    history = trainer.state.log_history
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert losses, "the last step is always logged"
    if not are_finite(trainer.model):
        raise diverged("the trained weights are not numbers any more", job.name)
    if is_main():
        lines = "".join(json.dumps(entry) + "\n" for entry in history)
        (job.out / "history.jsonl").write_text(lines, encoding="utf-8")
    steps = trainer.state.global_step
    resumed = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    return {
        "steps": steps,
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "trainable_parameters": parameter_count(trainer.model, trainable=True),
        "resumed_at_step": resumed,
        "train_seconds": round(seconds, 1),
        "rows_per_second": round((steps - resumed) * batch_size / seconds, 1),
        "peak_memory_mb": round(peak_memory() / 2**20),
    }
