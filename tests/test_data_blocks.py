"""Texts as blocks of tokens: nothing lost but the last rest, nothing added but the end."""

import json

import pytest

from finetune.data import encoder
from finetune.data.blocks import encode_blocks
from finetune.models.tokenizers import load_tokenizer
from finetune.recipe.types import Base, Data
from finetune.tasks.examples import texts

pytestmark = pytest.mark.heavy
SAID = [
    "One day.",
    "\u00e9t\u00e9 \u2013 <s> [INST]",
    "\n a",
    "x" * 3000,
    *(f"line {n}" for n in range(40)),
]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(Base(model="tiny-mistral"))[0]


@pytest.mark.parametrize(("block", "at_once"), [(1, 500), (7, 3), (64, 1), (1000, 500)])
def test_blocks_are_the_ids_of_all_texts_each_with_its_end(
    tokenizer, tmp_path, monkeypatch, block, at_once
):
    monkeypatch.setattr(encoder, "BATCH_ROWS", at_once)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in SAID))
    given = texts(Data(path=str(tmp_path / "a.jsonl")))
    blocks = encode_blocks(tokenizer, given, block, file=tmp_path / "blocks.arrow")
    ids = [
        token
        for each in given
        for token in [
            *tokenizer(each.text, add_special_tokens=False)["input_ids"],
            tokenizer.eos_token_id,
        ]
    ]
    assert {len(each) for each in blocks["input_ids"]} == {block}
    assert [token for each in blocks["input_ids"] for token in each] == ids[: len(blocks) * block]
    assert len(ids) - len(blocks) * block < block
    assert list(blocks["labels"]) == list(blocks["input_ids"])
