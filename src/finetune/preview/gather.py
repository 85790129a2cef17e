"""What `finetune preview` shows, gathered from a recipe; heavy libraries wait until it is asked."""

from __future__ import annotations

from typing import Any

from finetune.errors import FinetuneError
from finetune.preview.pieces import Preview
from finetune.recipe.types import Base, Dpo, Pretrain, Recipe, Sft, Stage


def trains(stage: Stage) -> bool:
    """Whether a stage has rows to show."""
    return isinstance(stage, Sft | Dpo | Pretrain)


def preview(recipe: Recipe, stage: Stage, numbers: range) -> Preview:
    """The rows of these numbers (from 0) as `stage` will see them; no stage need have run.

    Raises:
        FinetuneError: the stage trains on no rows, or has none of these numbers.
    """
    from finetune.data.shorten import fitting
    from finetune.models.load import context_length
    from finetune.preview.rows import blocks, pairs, talks

    if not isinstance(stage, Sft | Dpo | Pretrain):
        raise FinetuneError(
            f"{stage.name!r} ({stage.kind}) trains on no rows",
            remedy="Name a stage that does: pretrain, sft or dpo.",
        )
    tokenizer, notes = _tokenizer(recipe)
    limit = fitting(stage.train, context_length(_config(recipe.base)))
    if isinstance(stage, Sft):
        total, rows = talks(stage, tokenizer, limit, numbers)
    elif isinstance(stage, Dpo):
        total, rows = pairs(stage, tokenizer, limit, numbers)
    else:
        total, rows = blocks(stage, tokenizer, limit or 1024, numbers)
    if not rows:
        raise FinetuneError(f"there is no row {numbers.start + 1}", where=f"{stage.name}: {total}")
    return Preview(f"{recipe.name}: {stage.name}", total, tuple(rows), tuple(notes))


def _config(base: Base) -> Any:
    """The architecture's config: the base's, or as the recipe describes random weights."""
    from transformers import AutoConfig

    from finetune.models.load import read_config

    if base.model is not None:
        return read_config(base)
    fields = dict(base.config or {})
    return AutoConfig.for_model(fields.pop("model_type"), **fields)


def _tokenizer(recipe: Recipe) -> tuple[Any, list[str]]:
    """The base's tokenizer; of random weights, the one that the first stage will train."""
    from finetune.models.tokenizers import tokenizer_of
    from finetune.tasks.examples import texts

    first = recipe.stages[0]
    new = recipe.base.tokenizer is not None and isinstance(first, Pretrain)
    documents = [each.text for each in texts(first.data)] if new else []  # type: ignore[attr-defined]
    return tokenizer_of(recipe.base, documents)
