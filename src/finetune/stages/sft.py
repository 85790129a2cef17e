"""Supervised fine-tuning: an adapter (or all weights) learns the answers of conversations."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trl import SFTConfig, SFTTrainer

from finetune.console import warn
from finetune.data.encoded import encode_rows, row_at
from finetune.data.losses import losses
from finetune.data.shorten import fitting, longest
from finetune.errors import FinetuneError
from finetune.job import Job, ModelRef, Result
from finetune.models.adapters import add_adapter, check_places, keep_full_precision
from finetune.models.distributed import loaded_in_shards
from finetune.models.load import context_length, open_model, read_config
from finetune.models.save import save_adapter, save_model
from finetune.models.tokenizers import load_tokenizer
from finetune.ranks import rank
from finetune.recipe.types import Sft
from finetune.stages import samples, training
from finetune.stages.layout import Rows, lay_out
from finetune.stages.sources import announce, left_out, skipper
from finetune.tasks.examples import conversations

SAMPLE = 20  # rows rendered before any stage runs


def check(stage: Sft, job: Job) -> None:
    """Build the library's configs and render some rows."""
    training.trainer_config(SFTConfig, stage.train, stage.batch_size, job)
    tokenizer, _ = load_tokenizer(job.model.base)
    read_config(job.model.base)
    if stage.lora is not None:
        check_places(job.model.base, stage.lora)
    limit = longest(stage.train)
    talks = conversations(stage.data)
    announce(talks, stage.data, job)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rows.arrow"
        rows = encode_rows(
            tokenizer,
            talks[:SAMPLE],
            limit,
            mask=stage.mask,
            file=file,
            skipped=skipper(talks, stage.data),
        )
        losses(rows, limit)


def run(stage: Sft, job: Job) -> Result:
    """Train and save the adapter (or the model) with its tokenizer."""
    tokenizer, notes = load_tokenizer(job.model.base)
    with loaded_in_shards():
        model = _model(stage, job)
    talks = conversations(stage.data)
    limit = fitting(stage.train, context_length(model))
    file = training.scratch(job) / f"rows-{rank()}.arrow"
    rows = encode_rows(
        tokenizer,
        talks,
        limit,
        mask=stage.mask,
        file=file,
        title=f"{job.name}: tokens",
        skipped=skipper(talks, stage.data),
    )
    notes += [*left_out(talks, job), *losses(rows, limit)]
    samples.leave(job, tokenizer, ((n, "", row_at(rows, n)) for n in samples.telling(rows)))
    layout = lay_out(
        stage,
        Rows(
            dataset=rows.select_columns(["input_ids", "labels"]),
            lengths=list(rows["length"]),
            limit=limit,
            model=model,
            pad_token_id=tokenizer.pad_token_id,
        ),
        job,
    )
    trainer = SFTTrainer(
        model=model,
        args=training.trainer_config(
            SFTConfig,
            stage.train,
            layout.batch_size,
            job,
            max_length=limit,
            dataset_kwargs={"skip_prepare_dataset": True},
            **layout.settings,
        ),
        train_dataset=layout.dataset,
        data_collator=layout.collator,
        processing_class=tokenizer,
    )
    training.attach(trainer, job, layout.rows_per_step)
    keep_full_precision(trainer.model)
    for note in notes:
        warn(f"{job.name}: {note}")
    facts = training.train(trainer, job, layout.rows_per_step) | layout.facts
    facts |= {"rows": len(rows), "refused_rows": talks.refused.count}
    facts["learnt_tokens"] = sum(rows["learnt"])
    return Result(model=_save(trainer, tokenizer, job), facts=facts, warnings=tuple(notes))


def _model(stage: Sft, job: Job) -> Any:
    """The model to train: a fresh adapter on the base, the adapter before it, or all weights."""
    if stage.lora is None:
        return open_model(job.model, trainable=True)
    if job.model.adapter is not None:
        raise FinetuneError(
            "there is an adapter already, and `lora` asks for a new one",
            where=job.name,
            remedy="Leave `lora` out to go on training it, or put a merge stage between.",
        )
    return add_adapter(open_model(job.model), stage.lora, job.seed)


def _save(trainer: SFTTrainer, tokenizer: Any, job: Job) -> ModelRef:
    if hasattr(trainer.model, "peft_config"):
        return save_adapter(trainer.model, tokenizer, job)
    return save_model(trainer, tokenizer, job)
