"""Next-token training of all weights on plain text, from random weights or a base."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import datasets
from trl import SFTConfig, SFTTrainer

from finetune.data.blocks import encode_blocks
from finetune.data.examples import Text
from finetune.errors import FinetuneError
from finetune.job import Job, Result
from finetune.models.attention import check_attention
from finetune.models.distributed import loaded_in_shards
from finetune.models.load import context_length, new_base, open_base, read_config
from finetune.models.save import save_model
from finetune.models.tokenizers import tokenizer_of
from finetune.ranks import rank
from finetune.recipe.types import Pretrain
from finetune.stages import training
from finetune.stages.fastest import Batch, choose
from finetune.stages.sources import announce, left_out
from finetune.tasks.examples import texts


def check(stage: Pretrain, job: Job) -> None:
    """Build the library's config, read the texts, make the model's shape."""
    training.trainer_config(SFTConfig, stage.train, stage.batch_size, job)
    check_attention(job.model.base, read_config(job.model.base))
    announce(texts(stage.data), stage.data, job)
    if job.model.base.config:
        new_base(job.model.base, 256, job.seed)


def run(stage: Pretrain, job: Job) -> Result:
    """Train on blocks of `max_length` tokens, documents one after another with an end between."""
    given = texts(stage.data)
    notes = left_out(given, job)
    tokenizer, _ = tokenizer_of(job.model.base, (example.text for example in given))
    base = job.model.base
    with loaded_in_shards() if base.config is None else nullcontext():
        model = new_base(base, len(tokenizer), job.seed) if base.config else open_base(base)
    block = min(filter(None, (stage.train.get("max_length", 1024), context_length(model))))
    blocks = _blocks(tokenizer, given, block, training.scratch(job) / f"blocks-{rank()}.arrow")
    plan = training.plan(stage.train, len(blocks), stage.batch_size, block)
    order = training.order(plan, [block] * len(blocks), stage.batch_size, job.seed)
    batch = Batch(stage.batch_size, block, [block] * stage.batch_size)
    way, told = choose(model, base, batch, stage.train, job)
    trainer = SFTTrainer(
        model=model.train(),
        args=training.trainer_config(
            SFTConfig,
            stage.train,
            stage.batch_size,
            job,
            max_length=block,
            **way.settings(stage.batch_size),
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=blocks.select(order),
        processing_class=tokenizer,
    )
    training.attach(trainer, job, stage.batch_size)
    facts = training.train(trainer, job, stage.batch_size)
    facts |= {"made_with": told, "documents": len(given), "refused_rows": given.refused.count}
    facts["tokens"] = len(blocks) * block
    model = save_model(trainer, tokenizer, job)
    return Result(model=model, facts=facts, warnings=tuple(notes))


def _blocks(tokenizer: Any, given: Sequence[Text], block: int, file: Path) -> datasets.Dataset:
    """Token ids of all texts, cut into blocks of one length; the last, short one is left out.

    Raises:
        FinetuneError: the texts do not fill one block.
    """
    blocks = encode_blocks(tokenizer, given, block, file=file)
    if len(blocks) == 0:
        raise FinetuneError(
            f"the texts do not fill one block of {block} tokens",
            remedy="Give more text, or lower train.max_length.",
        )
    return blocks
