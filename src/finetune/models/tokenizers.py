"""Tokenizers: loaded with what they lack filled in and said, or trained with a new base."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from finetune.data.chat import close_answers
from finetune.embedded import BASES, base_folder, is_path, template_file
from finetune.errors import FinetuneError
from finetune.recipe.types import Base

# Special tokens of each shipped template: (start, end, padding, others). A template of one's own
# gets those of `plain`.
SPECIAL: dict[str, tuple[str | None, str, str, tuple[str, ...]]] = {
    "mistral": ("<s>", "</s>", "<pad>", ("[INST]", "[/INST]")),
    "chatml": (None, "<|im_end|>", "<|padding|>", ("<|im_start|>", "<|endoftext|>")),
    "plain": ("<s>", "</s>", "<pad>", ()),
    "zephyr": ("<s>", "</s>", "<pad>", ()),
    "llama3": (
        "<|begin_of_text|>",
        "<|eot_id|>",
        "<|padding|>",
        ("<|start_header_id|>", "<|end_header_id|>"),
    ),
    "gemma": ("<bos>", "<eos>", "<pad>", ("<start_of_turn>", "<end_of_turn>")),
}


def template(name: str) -> str:
    """The text of a chat template: a shipped one by its name, or a .jinja file by its path.

    Raises:
        FinetuneError: there is no such file.
    """
    try:
        return template_file(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FinetuneError(
            f"the chat template cannot be read: {error}",
            where=f"base.chat_template: {name}",
            remedy=f"Relative paths start at the current folder, {Path.cwd()}.",
        ) from error


def source(base: Base) -> str:
    """What transformers loads: a built-in base's folder, a folder, or a hub id."""
    name = base.model or ""
    return str(base_folder(name) or Path(name).expanduser() if is_local(name) else name)


def is_here(base: Base) -> bool:
    """Whether the base's config is on this machine: in a folder, or in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    folder = Path(source(base))
    if folder.is_dir():
        return True
    return isinstance(try_to_load_from_cache(source(base), "config.json"), str)


def weights_folder(base: Base) -> Path:
    """Where the base's files lie on this machine, once it has been opened."""
    folder = Path(source(base))
    if folder.is_dir():
        return folder
    from transformers.utils import cached_file

    return Path(str(cached_file(source(base), "config.json", revision=base.revision))).parent


def is_local(name: str) -> bool:
    return base_folder(name) is not None or Path(name).expanduser().exists()


def load_tokenizer(base: Base) -> tuple[Any, list[str]]:
    """The base's tokenizer, and sentences about what it lacked.

    Raises:
        FinetuneError: there is no tokenizer.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source(base), revision=base.revision)
    except Exception as error:
        if not is_local(base.model or ""):
            raise unreachable(base, error) from error
        raise FinetuneError(
            "the base has no tokenizer that transformers can load",
            where=str(base.model),
            remedy="Put tokenizer.json and tokenizer_config.json into its folder, "
            "as `tokenizer.save_pretrained` writes them.",
        ) from error
    _add_tokens(tokenizer, base)
    return tokenizer, complete(tokenizer, base.chat_template)


def tokenizer_of(base: Base, documents: Iterable[str]) -> tuple[Any, list[str]]:
    """The base's own tokenizer, or for random weights one trained on the documents."""
    if base.tokenizer is None:
        return load_tokenizer(base)
    vocabulary, chosen = base.tokenizer.vocab_size, base.chat_template or "plain"
    return train_tokenizer(documents, vocabulary, chosen), []


def _add_tokens(tokenizer: Any, base: Base) -> None:
    """Give the tokenizer `base.add_tokens`.

    Raises:
        FinetuneError: it has one of them already.
    """
    known = [token for token in base.add_tokens if token in tokenizer.get_vocab()]
    if known:
        raise FinetuneError(
            f"the tokenizer has {', '.join(map(repr, known))} already",
            where="base.add_tokens",
            remedy="Take it out of the list: it is learnt like any other token.",
        )
    tokenizer.add_tokens(list(base.add_tokens))


def unreachable(base: Base, error: BaseException) -> FinetuneError:
    """A base that is no folder here and cannot be had from the hub."""
    if is_path(base.model or ""):
        return FinetuneError(
            "no such folder",
            where=f"base.model: {base.model}",
            remedy=f"Relative paths start at the current folder, {Path.cwd()}.",
        )
    lines = str(error).strip().splitlines()
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    asked = "the hub is switched off (offline: HF_HUB_OFFLINE)" if offline else lines[0]
    return FinetuneError(
        f"neither a folder here, nor to be had from the hub: {asked}",
        where=f"base.model: {base.model}",
        remedy=f"Check its name and revision, fetch it on a machine with network "
        f"(hf download {base.model}), or take a built-in base: {', '.join(BASES)}.",
    )


def complete(tokenizer: Any, chat_template: str | None) -> list[str]:
    """Give the tokenizer what training needs; returns a sentence for each thing it lacked."""
    notes = []
    if chat_template:
        tokenizer.chat_template = template(chat_template)
    elif not tokenizer.chat_template:
        tokenizer.chat_template = template("plain")
        notes.append(
            "the base has no chat template: 'plain' is used and saved with the model "
            "(base.chat_template chooses another)"
        )
    if note := close_answers(tokenizer):
        notes.append(note)
    if "strftime_now" in str(tokenizer.chat_template):
        notes.append("the chat template writes the date of the day: rows change with it")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        notes.append(
            f"the base has no padding token: its end token {tokenizer.eos_token!r} pads "
            "(padding is masked by position, so the end token is still learnt)"
        )
    return notes


def train_tokenizer(texts: Iterable[str], vocab_size: int, chat_template: str) -> Any:
    """A byte-level BPE tokenizer: lossless on any text, digits one by one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    start, end, padding, others = SPECIAL.get(chat_template, SPECIAL["plain"])
    special = [token for token in (start, end, padding, *others) if token]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if start:
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, bpe.token_to_id(start))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=start or end,
        eos_token=end,
        pad_token=padding,
        additional_special_tokens=list(others),
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = template(chat_template)
    return tokenizer
