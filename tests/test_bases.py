"""Checks on the shipped bases: small, loadable, with sound tokenizers, trained, able to copy."""

import json
import math
import string
from pathlib import Path

import pytest

from finetune.embedded import base_folder

BASES = Path(__file__).resolve().parent.parent / "src" / "finetune" / "assets" / "bases"
NAMES = ("tiny-mistral", "tiny-mpt")
CONVERSATIONS = [
    [("user", "What is the colour of the lamp?"), ("assistant", "green")],
    [("system", "Answer briefly."), ("user", "Who is late?"), ("assistant", "Tom")],
    [
        ("user", "List: a, b\nReverse the list."),
        ("assistant", "b, a"),
        ("user", "  And 12.50 € → 'x'?  "),
        ("assistant", "ok 🙂"),
    ],
]
HELD_OUT = [
    "Mira told Oskar that she would bring the ladder on Friday because the lamp was broken.",
    "CREATE TABLE boat (id INTEGER PRIMARY KEY, name TEXT, length INTEGER);\n"
    "SELECT name FROM boat WHERE length > 12;\nSELECT COUNT(*) FROM boat;",
    "Ines: hey, are you coming to the party?\nPaul: sorry, I can't\nInes: oh no :(",
    "The price of the lamp is 12. The price of the kettle is 30.\nThe price of the lamp is 12.",
]

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module", params=NAMES)
def folder(request) -> Path:
    return BASES / request.param


@pytest.fixture(scope="module")
def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def messages(turns) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def test_a_base_is_small(folder) -> None:
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 8_000_000
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"


def test_shape_suits_four_bit_blocks(model) -> None:
    import torch

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "lm_head" not in name:
            assert module.in_features % 64 == 0
            assert module.out_features % 64 == 0
    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings
    assert model.config.tie_word_embeddings


def test_special_tokens_are_set(tokenizer, model) -> None:
    assert tokenizer.pad_token_id is not None
    assert tokenizer.eos_token_id is not None
    assert tokenizer.bos_token_id is not None
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert len(tokenizer) == model.config.vocab_size
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize(
    "text",
    [
        "Grüße, žluťoučký kůň! 你好 — 🙂👩‍👩‍👧 \u200d\ufeff\x00",
        "  two  spaces\n\n\ttab\r\n",
        string.printable,
        '\'quoted\' "twice" `table`."column" 12.50 1,000',
        "".join(map(chr, range(0x20, 0x800))),
    ],
)
def test_any_text_comes_back(tokenizer, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_digits_stand_alone(tokenizer) -> None:
    pieces = tokenizer.tokenize("2024-07-31 costs 1250")
    assert all(len(piece.strip("Ġ")) == 1 for piece in pieces if any(map(str.isdigit, piece)))


@pytest.mark.parametrize("turns", CONVERSATIONS)
def test_a_prompt_begins_its_conversation(tokenizer, turns) -> None:
    """What the model continues when it is used is what it was trained to continue."""
    whole = tokenizer.apply_chat_template(messages(turns), return_dict=False)
    for number, (role, _) in enumerate(turns):
        if role == "assistant":
            prompt = tokenizer.apply_chat_template(
                messages(turns[:number]), add_generation_prompt=True, return_dict=False
            )
            assert whole[: len(prompt)] == prompt
    assert tokenizer.eos_token_id in whole[-2:]


def test_it_is_trained(tokenizer, model) -> None:
    """Far below the loss of guessing, on sentences that no corpus holds."""
    import torch

    with torch.no_grad():
        for text in HELD_OUT:
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
            assert model(ids, labels=ids).loss < math.log(len(tokenizer)) - 3.5, text


def test_tiny_mistral_copies() -> None:
    """A run of words without sense is predicted better the second time: copying has emerged."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = base_folder("tiny-mistral")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    text = "lamp soup nurse violin purple ticket otter honest bakery ladder mayor cousin pear"
    ids = tokenizer(f"{text}\n{text}", add_special_tokens=False, return_tensors="pt").input_ids
    first = len(tokenizer(text, add_special_tokens=False).input_ids)
    with torch.no_grad():
        scores = model(ids).logits[0, :-1].log_softmax(-1)
    losses = -scores.gather(1, ids[0, 1:, None])[:, 0]
    assert losses[first + 2 :].mean() < 0.4 * losses[: first - 1].mean()
