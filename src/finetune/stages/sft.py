"""Supervised fine-tuning: an adapter (or all weights) learns the answers of conversations."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from trl import SFTConfig, SFTTrainer

from finetune.console import warn
from finetune.data.encoded import RowReader, encode_rows, row_at
from finetune.data.losses import losses
from finetune.data.shorten import fitting, longest
from finetune.job import Job, Result
from finetune.models.adapters import keep_full_precision
from finetune.models.fitting import check_start
from finetune.models.load import context_length, read_config
from finetune.models.policy import open_policy, save_policy
from finetune.models.tokenizers import load_tokenizer
from finetune.ranks import rank
from finetune.recipe.types import Sft
from finetune.stages import samples, training
from finetune.stages.fastest import Batch, choose
from finetune.stages.layout import Rows, lay_out
from finetune.stages.sources import announce, left_out, skipper
from finetune.tasks.examples import conversations

SAMPLE = 20  # rows rendered before any stage runs


def check(stage: Sft, job: Job) -> None:
    """Build the library's configs and render some rows."""
    training.trainer_config(SFTConfig, stage.train, stage.batch_size, job)
    tokenizer, _ = load_tokenizer(job.model.base)
    check_start(job.model, stage)
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
    talks = conversations(stage.data)
    limit = fitting(stage.train, context_length(read_config(job.model.base)))
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
    policy = open_policy(stage, job, RowReader(len(rows), partial(row_at, rows)))
    lengths, packed = list(rows["length"]), bool(stage.train.get("packing"))
    longest = (limit or max(lengths)) if packed else max(lengths)
    learnt = list(rows["learnt"])
    plan = training.plan(stage.train, len(lengths), stage.batch_size, limit)
    order = training.order(plan, lengths, stage.batch_size, job.seed)
    full = [longest] * stage.batch_size
    batch = Batch(stage.batch_size, longest, full if packed else [learnt[n] for n in order])
    way, told = choose(policy.model, policy.base, batch, stage.train, job)
    layout = lay_out(
        stage,
        Rows(
            dataset=rows.select_columns(["input_ids", "labels"]),
            lengths=lengths,
            order=order,
            limit=limit,
            model=policy.model,
            pad_token_id=tokenizer.pad_token_id,
            at_once=way.rows_at_once,
        ),
        job,
    )
    trainer = SFTTrainer(
        model=policy.model,
        args=training.trainer_config(
            SFTConfig,
            stage.train,
            layout.batch_size,
            job,
            max_length=limit,
            dataset_kwargs={"skip_prepare_dataset": True},
            **training.adapter_rate(SFTConfig, stage.train, policy.model, job),
            **{**way.settings(layout.batch_size), **layout.settings},
        ),
        train_dataset=layout.dataset,
        data_collator=layout.collator,
        processing_class=tokenizer,
    )
    training.attach(trainer, job, layout.rows_per_step)
    keep_full_precision(trainer.model)
    training.set_rates(trainer, stage)
    for note in notes:
        warn(f"{job.name}: {note}")
    facts = training.train(trainer, job, layout.rows_per_step) | layout.facts
    facts |= {"made_with": told, "rows": len(rows), "refused_rows": talks.refused.count}
    facts["learnt_tokens"] = sum(learnt)
    model = save_policy(policy, trainer, tokenizer, job)
    return Result(model=model, facts=facts, warnings=tuple(notes))
