"""A model that answers, word by word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import TextStreamer

from finetune.data.tokens import stop_ids
from finetune.errors import FinetuneError
from finetune.models.generate import generation_config
from finetune.models.load import context_length, open_model
from finetune.models.tokenizers import load_tokenizer
from finetune.recipe.types import Settings
from finetune.talk.screen import harmless
from finetune.talk.target import Target

LEAST_ROOM = 16  # tokens of a question that are kept however long an answer may get


@dataclass(frozen=True)
class Said:
    """An answer: its text, and what ended it: itself, the limit of tokens, or Ctrl-C."""

    text: str
    ended: Literal["itself", "full", "stopped"]


class _Streamer(TextStreamer):
    """Hands over text as it is written, and keeps it."""

    def __init__(self, tokenizer: Any, write: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.text = ""
        self._write = write

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Called by transformers with each new piece of text."""
        self.text += text
        self._write(harmless(text))


class Speaker:
    """An opened model with its tokenizer."""

    def __init__(self, target: Target) -> None:
        self.tokenizer, self.notes = target.tokenizer() or load_tokenizer(target.ref.base)
        self.model = _opened(target)

    def limit(self, settings: Settings) -> int | None:
        """Most tokens of a question, so that an answer has room behind it."""
        context = context_length(self.model)
        return max(LEAST_ROOM, context - settings["max_new_tokens"]) if context else None

    def answer(self, ids: list[int], settings: Settings, write: Callable[[str], None]) -> Said:
        """Write an answer to token ids; Ctrl-C ends it and keeps what was written."""
        streamer = _Streamer(self.tokenizer, write)
        config = generation_config(self.tokenizer, settings)
        tensor = torch.tensor([ids]).to(self.model.device)
        try:
            with torch.inference_mode():
                out = self.model.generate(
                    input_ids=tensor,
                    attention_mask=torch.ones_like(tensor),
                    generation_config=config,
                    streamer=streamer if settings.get("num_beams", 1) == 1 else None,
                )
        except KeyboardInterrupt:
            return Said(streamer.text, "stopped")
        if settings.get("num_beams", 1) != 1:  # beams are known at the end alone
            new = out[0, len(ids) :]
            streamer.on_finalized_text(self.tokenizer.decode(new, skip_special_tokens=True))
        whole = int(out[0, -1]) in stop_ids(self.tokenizer)
        return Said(streamer.text, "itself" if whole else "full")


def _opened(target: Target) -> Any:
    try:
        return open_model(target.ref).eval()
    except (RuntimeError, ValueError, KeyError) as error:
        if target.ref.adapter is None:
            raise
        raise FinetuneError(
            f"the adapter does not fit the base {target.ref.base.model!r}: "
            f"{str(error).splitlines()[0]}",
            where=str(target.ref.adapter),
            remedy="Give --base the model that it was trained on.",
        ) from error
