"""GGUF files in llama.cpp itself: the same token ids, logits and greedy answers.

Needs its Python binding: pip install "finetune[llama-cpp]" (nine minutes of compiling on 2 cores).
"""

import importlib.util
import json

import pytest
from export_models import VARIANTS, logits, make, some_ids, write

from finetune.embedded import base_folder

INSTALLED = importlib.util.find_spec("llama_cpp") is not None
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not INSTALLED, reason="pip install 'finetune[llama-cpp]'"),
]

# ggml looks GELU up in a table of 16-bit numbers; transformers computes it, and not by tanh.
WITH_GELU = {"gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "mpt"}
TEXTS = [
    "The ferry leaves at 6:30, so pack tonight and set 2 alarms.",
    "Une phrase en français, 漢字 12.5 %  of a\n\n number!!  ",
    "Noor: did the parcel come?\nIvan: YES, it's at the neighbour's, we've 1234567 left",
    "\tif x == 10:\r\n\t\treturn {'a': [1, 22, 333]}  # ok",
]


@pytest.mark.parametrize("name", VARIANTS)
def test_llama_cpp_computes_the_same_logits(name, tmp_path):
    import numpy as np
    import torch
    from llama_cpp import Llama

    folder = make(name, tmp_path / "model")
    write(folder, tmp_path / "m.gguf", "f32")
    ids = some_ids()
    model = Llama(
        str(tmp_path / "m.gguf"), n_ctx=256, logits_all=True, verbose=False, type_k=0, type_v=0
    )
    model.eval(ids)
    found = torch.tensor(np.array(model.scores[: len(ids)]))
    wanted = logits(folder, ids)
    assert (wanted - found).abs().max() < (5e-4 if VARIANTS[name][0] in WITH_GELU else 2e-6)


@pytest.fixture(params=["tiny-mistral", "tiny-mpt", "stories260k"])
def real(request):
    """A model that has learnt something."""
    if request.param == "stories260k":
        return request.getfixturevalue("realdata") / "stories260k"
    return base_folder(request.param)


def test_200_greedy_tokens_are_the_same_at_f16(real, tmp_path):
    from test_export_gguf import greedy

    from finetune.export.llama_cpp import LlamaCpp
    from finetune.models.tokenizers import load_tokenizer
    from finetune.recipe.types import Base

    tokenizer, _ = load_tokenizer(Base(model=str(real)))
    opened = LlamaCpp(write(real, tmp_path / "m.gguf", "f16"), 512)
    texts = ("Once upon a time", "The ferry leaves at half past six", "Noor: hello")
    found = [opened.greedy(tokenizer(text).input_ids, 200) for text in texts]
    opened.close()
    assert found == greedy(real)


def test_token_ids_are_the_same(real, tmp_path):
    from finetune.export.llama_cpp import LlamaCpp
    from finetune.models.tokenizers import load_tokenizer
    from finetune.recipe.types import Base

    tokenizer, _ = load_tokenizer(Base(model=str(real)))
    opened = LlamaCpp(write(real, tmp_path / "m.gguf", "f16"))
    for text in TEXTS:
        assert opened.ids(text) == tokenizer(text, add_special_tokens=False).input_ids
    opened.close()


def byte_level(folder, patterns, ignore_merges):
    """A tokenizer that splits by these patterns, in the place of a model's own."""
    from shapes import TEXT
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from finetune.export.gguf_vocabulary import DIGITS, GPT2

    parts = []
    for pattern in patterns:
        if pattern == DIGITS:
            parts.append(pre_tokenizers.Digits(individual_digits=True))
        elif pattern != GPT2:
            parts.append(pre_tokenizers.Split(Regex(pattern), "isolated"))
    own = GPT2 in patterns
    parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=own))
    bpe = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(parts)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*TEXT, *TEXTS] * 9, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


NAMES = ["gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "tekken"]


@pytest.mark.parametrize("name", NAMES)
def test_each_way_of_splitting_has_its_name_in_llama_cpp(name, tmp_path):
    import gguf
    from transformers import AutoTokenizer

    from finetune.export.gguf_vocabulary import PRE_TOKENIZERS
    from finetune.export.llama_cpp import LlamaCpp

    assert list(PRE_TOKENIZERS.values()) == NAMES
    split = next(split for split, known in PRE_TOKENIZERS.items() if known == name)
    folder = make("llama", tmp_path / "model")
    byte_level(folder, *split)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    file = write(folder, tmp_path / "m.gguf", "f16")
    assert gguf.GGUFReader(file).fields["tokenizer.ggml.pre"].contents() == name
    opened = LlamaCpp(file)
    for text in TEXTS:
        assert opened.ids(text) == tokenizer(text, add_special_tokens=False).input_ids
    opened.close()


def test_the_chat_template_in_the_file_renders_the_same_ids(tmp_path):
    from finetune.data.shorten import render
    from finetune.export.llama_cpp import ask
    from finetune.models.tokenizers import load_tokenizer
    from finetune.recipe.types import Base

    for name in ("tiny-mistral", "tiny-mpt"):
        tokenizer, _ = load_tokenizer(Base(model=name))
        file = write(base_folder(name), tmp_path / f"{name}.gguf", "f16")
        talk = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi, what's 12 + 3?"},
            {"role": "assistant", "content": "15"},
            {"role": "user", "content": json.dumps({"a": 1})},
        ]
        assert ask(file, tokenizer, [talk]).prompts == [render(tokenizer, talk, True)]
