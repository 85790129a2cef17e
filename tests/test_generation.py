"""Answers in batches: the very tokens of each row alone, without waiting for the slowest row."""

import pytest
from shapes import SHAPES, make_base

pytestmark = pytest.mark.heavy

LENGTHS = (3, 41, 9, 17, 30, 5, 23, 12)
NEW = 40


@pytest.fixture(scope="module", params=sorted(SHAPES))
def model(request, tmp_path_factory):
    return opened(make_base(request.param, tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def mistral(tmp_path_factory):
    return opened(make_base("mistral", tmp_path_factory.mktemp("mistral")))


def opened(folder):
    from finetune.models.load import open_base
    from finetune.recipe.types import Base

    return open_base(Base(model=str(folder), dtype="float32"))


@pytest.fixture(scope="module")
def prompts():
    import random

    numbers = random.Random(3)
    return [[numbers.randrange(10, 300) for _ in range(length)] for length in LENGTHS]


def config(stops, **settings):
    from transformers import GenerationConfig

    ends = {"eos_token_id": sorted(stops), "pad_token_id": 0}
    return GenerationConfig(**{"do_sample": False, "max_new_tokens": NEW, **settings, **ends})


def alone(model, prompts, settings):
    """Each row by the library itself, without padding or company."""
    import torch

    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
            )
        found.append(out[0, len(prompt) :].tolist())
    return found


def together(model, prompts, settings):
    import torch

    from finetune.models.decoding import decode
    from finetune.models.generate import left_padded

    with torch.inference_mode():
        return decode(model, *left_padded(prompts, pad=0), settings)


def some_ends(model, prompts):
    """Tokens that the model writes at different places: ends, as a trained model would have."""
    written = alone(model, prompts, config([1]))
    return {written[0][4], written[2][11], written[5][20], written[6][30]}


def test_a_batch_gives_the_tokens_of_one_row_at_a_time(model, prompts):
    settings = config(some_ends(model, prompts))
    right = alone(model, prompts, settings)
    assert len({len(row) for row in right}) > 1
    assert together(model, prompts, settings) == right


def test_rows_that_have_ended_are_dropped(mistral, prompts, monkeypatch):
    settings = config(some_ends(mistral, prompts))
    sizes, generate = [], mistral.generate
    monkeypatch.setattr(
        mistral, "generate", lambda **more: sizes.append(len(more["input_ids"])) or generate(**more)
    )
    found = together(mistral, prompts, settings)
    assert sizes[0] == len(prompts) and sizes[-1] < len(prompts)
    assert sizes == sorted(sizes, reverse=True)
    assert all(found)


@pytest.mark.parametrize(
    "more", [{"num_beams": 3}, {"min_new_tokens": 8}, {"repetition_penalty": 1.3}]
)
def test_settings_that_look_at_the_whole_answer_keep_their_meaning(mistral, prompts, more):
    settings = config(some_ends(mistral, prompts), **more)
    short = [row[:20] for row in prompts[:4]]
    found = together(mistral, short, settings)
    right = [
        row[: len(mine)] for row, mine in zip(alone(mistral, short, settings), found, strict=True)
    ]
    assert found == right


def test_an_answer_says_whether_it_ended_or_was_cut(mistral, prompts, tmp_path, monkeypatch):
    from finetune.models import generate
    from finetune.models.tokenizers import load_tokenizer
    from finetune.recipe.types import Base

    tokenizer, _ = load_tokenizer(Base(model=mistral.config._name_or_path))
    stops = sorted(some_ends(mistral, prompts))
    monkeypatch.setattr(generate, "stop_ids", lambda _: stops)
    settings = {"max_new_tokens": 12}
    answers = generate.generate(
        mistral, tokenizer, prompts, settings=settings, batch_size=3, title=""
    )
    right = alone(mistral, prompts, config(stops, **settings))
    assert [each.tokens for each in answers] == [len(row) for row in right]
    assert [each.stopped for each in answers] == [row[-1] in stops for row in right]
    assert {each.stopped for each in answers} == {True, False}
