"""Answers of a model to prompts, in batches of like length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig

from finetune.data.tokens import stop_ids
from finetune.models.batches import batches_by_length
from finetune.models.decoding import decode
from finetune.recipe.types import Settings


@dataclass(frozen=True)
class Answer:
    """What a model wrote: text, number of tokens, and whether it ended the text by itself."""

    text: str
    tokens: int = 0
    stopped: bool = False


def generation_config(tokenizer: Any, settings: Settings) -> GenerationConfig:
    """Greedy unless the recipe says otherwise; stops at the template's end of an answer."""
    return GenerationConfig(
        **{"do_sample": False, **settings},
        eos_token_id=stop_ids(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )


def effective(tokenizer: Any, settings: Settings) -> dict[str, Any]:
    """What a generation config says beyond the library's own defaults, for the record."""
    said: dict[str, Any] = generation_config(tokenizer, settings).to_diff_dict()
    said.pop("transformers_version", None)
    return said


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    *,
    settings: Settings,
    batch_size: int,
    title: str,
) -> list[Answer]:
    """The answer to each prompt (token ids), end tokens removed; order as given."""
    config = generation_config(tokenizer, settings)
    model.generation_config = config
    answers = [Answer("")] * len(prompts)
    with tqdm(total=len(prompts), desc=title, unit="row", disable=None, leave=False) as bar:
        for rows in batches_by_length([len(prompt) for prompt in prompts], batch_size):
            ids, mask = left_padded([prompts[row] for row in rows], tokenizer.pad_token_id)
            with torch.inference_mode():
                written = decode(model, ids.to(model.device), mask.to(model.device), config)
            for row, new in zip(rows, written, strict=True):
                text = tokenizer.decode(new, skip_special_tokens=True).strip()
                answers[row] = Answer(text, len(new), new[-1] in config.eos_token_id)
            bar.update(len(rows))
    return answers


def left_padded(rows: Sequence[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask, (rows, longest row) each, each row against the right edge."""
    longest = max(len(row) for row in rows)
    ids = [[pad] * (longest - len(row)) + row for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)
