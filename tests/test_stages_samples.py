"""Rows left for the report: their text is what the model reads, their marks what it learns."""

import json

import pytest

pytestmark = pytest.mark.heavy

TALK = [
    {"role": "user", "content": "Is the lamp red? Ça va, 漢字 \N{GRINNING FACE}"},
    {"role": "assistant", "content": "Yes, the lamp is red."},
    {"role": "user", "content": "And its price?"},
    {"role": "assistant", "content": "12.50"},
]


@pytest.fixture
def tokenizer(random_base):
    from finetune.models.tokenizers import load_tokenizer
    from finetune.recipe.types import Base

    return load_tokenizer(Base(model=str(random_base)))[0]


def encoded(tokenizer, messages, limit=None):
    from finetune.data.examples import Conversation
    from finetune.data.tokens import encode

    return encode(tokenizer, [Conversation(messages)], limit)[0]


def test_stretches_joined_are_the_text_and_the_learnt_ones_the_answers(tokenizer):
    from finetune.stages.samples import runs

    row = encoded(tokenizer, TALK)
    found = runs(tokenizer, row)
    assert "".join(each["text"] for each in found) == tokenizer.decode(row.input_ids)
    assert [each["learnt"] for each in found] == [index % 2 == 1 for index in range(len(found))]
    learnt = [each for each in found if each["learnt"]]
    assert sum(each["tokens"] for each in learnt) == row.learnt
    for each, message in zip(learnt, TALK[1::2], strict=True):
        assert each["text"].strip().startswith(message["content"])


def test_the_first_the_longest_and_the_first_cut_row_are_left(tokenizer, tmp_path):
    from finetune.data.encoded import encode_rows, row_at
    from finetune.data.examples import Conversation
    from finetune.job import Job, ModelRef
    from finetune.recipe.types import Base
    from finetune.stages import samples

    short, long = TALK[:2], [{"role": "user", "content": "lamp " * 90}, TALK[1]]
    cut = [{"role": "user", "content": "price " * 200}, TALK[1]]
    talks = [Conversation(each) for each in (short, short, long, short, cut)]
    rows = encode_rows(tokenizer, talks, 160, mask="assistant", file=tmp_path / "rows.arrow")
    assert samples.telling(rows)[0] == 0
    assert 4 in samples.telling(rows)
    job = Job(name="sft", out=tmp_path, seed=1, model=ModelRef(base=Base()))
    samples.leave(
        job, tokenizer, ((each, "", row_at(rows, each)) for each in samples.telling(rows))
    )
    lines = [json.loads(line) for line in (tmp_path / samples.NAME).read_text().splitlines()]
    assert [line["row"] for line in lines] == samples.telling(rows)
    assert lines[-1]["shortened"] is True
