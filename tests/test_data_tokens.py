"""How a model sees a conversation: exact token ids, and which of them are learnt."""

import pytest

from finetune.data.chat import Chat
from finetune.data.examples import Conversation
from finetune.data.messages import as_messages
from finetune.data.shorten import CUT_MARK, render, shorten
from finetune.data.tokens import IGNORED, encode, stop_ids
from finetune.models.tokenizers import SPECIAL, complete, train_tokenizer
from finetune.recipe.types import Base

pytestmark = pytest.mark.heavy

TEXT = [
    "Noor asks Ivan whether the parcel came. The lamp is red, price 12.50.",
    "漢字 ünïcode 🙂",
] * 9
TALK = [
    {"role": "user", "content": "Which lamp?"},
    {"role": "assistant", "content": "The red one."},
    {"role": "user", "content": "Price?"},
    {"role": "assistant", "content": "12.50"},
]


def turn(prompt, answer):
    return Conversation([*as_messages(prompt, "user"), *as_messages(answer, "assistant")])


@pytest.fixture(scope="module", params=sorted(SPECIAL))
def tokenizer(request):
    return train_tokenizer(TEXT, vocab_size=400, chat_template=request.param)


def learnt_text(tokenizer, encoded):
    return tokenizer.decode([label for label in encoded.labels if label != IGNORED])


def test_ids_are_those_of_the_template_applied_to_the_whole_conversation(tokenizer):
    conversation = turn(TALK[:3], TALK[3:])
    whole = tokenizer.apply_chat_template(TALK, tokenize=True, return_dict=False)
    assert encode(tokenizer, [conversation], None)[0].input_ids == whole


def test_every_assistant_turn_is_learnt_and_nothing_of_the_user(tokenizer):
    text = learnt_text(tokenizer, encode(tokenizer, [turn(TALK[:3], TALK[3:])], None)[0])
    assert "The red one." in text
    assert "12.50" in text
    assert "lamp" not in text
    assert "Price" not in text


def test_the_token_that_ends_an_answer_is_learnt(tokenizer):
    encoded = encode(tokenizer, [turn("Which lamp?", "The red one.")], None)[0]
    learnt = {label for label in encoded.labels if label != IGNORED}
    assert Chat(tokenizer).stop in learnt
    assert set(stop_ids(tokenizer)) == {Chat(tokenizer).stop, tokenizer.eos_token_id}


def test_a_prompt_is_a_prefix_of_the_conversation_it_begins(tokenizer):
    whole = render(tokenizer, TALK)
    prompt = render(tokenizer, TALK[:3], answer_follows=True)
    assert whole[: len(prompt)] == prompt


def test_a_long_prompt_loses_its_middle_and_the_answer_stays_whole(tokenizer):
    words = [f"lamp{number}" for number in range(200)]
    encoded = encode(tokenizer, [turn(" ".join(words), "The red one.")], max_length=120)[0]
    assert encoded.shortened
    assert encoded.cut == 0
    assert 100 < len(encoded.input_ids) <= 120
    text = tokenizer.decode(encoded.input_ids)
    assert "lamp0" in text
    assert "lamp199" in text
    assert CUT_MARK.strip() in text
    assert "The red one." in learnt_text(tokenizer, encoded)


def test_an_answer_too_long_is_cut_and_counted(tokenizer):
    whole = encode(tokenizer, [turn("Which?", "red " * 100)], None)[0]
    encoded = encode(tokenizer, [turn("Which?", "red " * 100)], max_length=60)[0]
    assert len(encoded.input_ids) == 60
    assert encoded.cut + encoded.learnt == whole.learnt


def test_what_fits_is_not_touched(tokenizer):
    messages, shortened = shorten(tokenizer, TALK, 10_000)
    assert messages == TALK
    assert not shortened


def test_a_trained_tokenizer_loses_nothing_of_any_text(tokenizer):
    for text in (*TEXT, "Ωмега\t\n  two  spaces \x00 �", "1234567890"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text


def test_digits_are_tokens_of_their_own(tokenizer):
    assert len(tokenizer("2026", add_special_tokens=False)["input_ids"]) == 4


def test_a_tokenizer_without_padding_and_template_is_completed_and_that_is_said(tokenizer):
    from copy import deepcopy

    bare = deepcopy(tokenizer)
    bare.chat_template, bare.pad_token = None, None
    notes = complete(bare, Base(model="x").chat_template)
    assert len(notes) == 2
    assert bare.pad_token == bare.eos_token
    assert bare.chat_template
