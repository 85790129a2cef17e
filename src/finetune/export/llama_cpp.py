"""A GGUF file read by llama.cpp, where its Python binding is installed (`finetune[llama-cpp]`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.data.examples import Message
from finetune.export.round_trip import NEW_TOKENS, Answers

FULL = 0  # ggml's number of float32: keys and values are kept as transformers keeps them


def is_installed() -> bool:
    """Whether llama.cpp can be asked here."""
    return importlib.util.find_spec("llama_cpp") is not None


class LlamaCpp:
    """One GGUF file, opened."""

    def __init__(self, path: Path, context: int | None = None) -> None:
        from llama_cpp import Llama

        self.model: Any = Llama(
            str(path),
            n_ctx=context or 0,
            type_k=FULL,
            type_v=FULL,
            logits_all=False,
            verbose=False,
        )

    def ids(self, text: str) -> list[int]:
        """Token ids of rendered text, special tokens read as such and none added."""
        return list(self.model.tokenize(text.encode("utf-8"), add_bos=False, special=True))

    def greedy(self, prompt: Sequence[int], most: int = NEW_TOKENS) -> list[int]:
        """Token ids of the likeliest answer, its end token included."""
        import llama_cpp

        vocabulary = self.model._model.vocab
        self.model.reset()
        found: list[int] = []
        for token in self.model.generate(list(prompt), temp=0.0, repeat_penalty=1.0):
            found.append(int(token))
            if len(found) == most or llama_cpp.llama_vocab_is_eog(vocabulary, token):
                break
        return found

    def close(self) -> None:
        """Give its memory back."""
        self.model.close()


def ask(path: Path, tokenizer: Any, prompts: Sequence[Sequence[Message]]) -> Answers:
    """Prompts as the chat template words them, tokenised and answered by llama.cpp alone."""
    opened = LlamaCpp(path)
    try:
        texts = [
            tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True, tokenize=False)
            for prompt in prompts
        ]
        ids = [opened.ids(text) for text in texts]
        return Answers(ids, [opened.greedy(each) for each in ids])
    finally:
        opened.close()
