"""Masks: what each setting has learnt, what templates may do, and that nothing else counts."""

from dataclasses import dataclass
from typing import Any

import pytest

from finetune.data.examples import Conversation
from finetune.errors import DataError, FinetuneError

pytestmark = pytest.mark.heavy

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Which lamp?"},
    {"role": "assistant", "content": "The red one."},
    {"role": "user", "content": "Price?"},
    {"role": "assistant", "content": "12.50"},
]


@pytest.fixture(scope="module")
def tokenizer():
    from chat_templates import byte_level

    from finetune.models.tokenizers import template

    made = byte_level(["<|im_end|>", "<|im_start|>", "<|pad|>"], nfc=True)
    made.chat_template = template("chatml")
    return made


def with_template(tokenizer, text):
    from copy import deepcopy

    made = deepcopy(tokenizer)
    made.chat_template = text
    return made


def learnt(tokenizer, messages, mask="assistant", limit=None):
    from finetune.data.tokens import IGNORED, encode

    (row,) = encode(tokenizer, [Conversation(messages)], limit, mask)
    return tokenizer.decode([label for label in row.labels if label != IGNORED])


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        ("assistant", "The red one.<|im_end|>12.50<|im_end|>"),
        ("last_turn", "12.50<|im_end|>"),
        ("completion", "12.50<|im_end|>"),
    ],
)
def test_a_mask_has_its_turns_learnt_with_what_stops_them(tokenizer, mask, text):
    assert learnt(tokenizer, TALK, mask) == text


def test_all_is_everything_but_the_first_token_which_nothing_foretells(tokenizer):
    from finetune.data.tokens import IGNORED, encode

    (row,) = encode(tokenizer, [Conversation(TALK)], None, "all")
    assert row.labels == [IGNORED, *row.input_ids[1:]]
    assert row.unstopped == 0


def test_completion_is_every_answer_after_the_last_question(tokenizer):
    talk = [*TALK, {"role": "assistant", "content": "In cash."}]
    assert learnt(tokenizer, talk, "completion") == "12.50<|im_end|>In cash.<|im_end|>"
    assert learnt(tokenizer, talk, "last_turn") == "In cash.<|im_end|>"


@pytest.mark.parametrize("setting", [{"train": False}, {"weight": 0}])
def test_a_message_may_say_that_it_is_not_to_be_learnt(tokenizer, setting):
    from finetune.data.tokens import encode

    talk = [*TALK[:2], {**TALK[2], **setting}, *TALK[3:]]
    assert learnt(tokenizer, talk) == "12.50<|im_end|>"
    plain, marked = encode(tokenizer, [Conversation(TALK), Conversation(talk)], None)
    assert marked.input_ids == plain.input_ids


@pytest.mark.parametrize("mask", ["assistant", "completion", "last_turn", "all"])
@pytest.mark.parametrize("kind", ["mistral", "mpt"])
def test_the_loss_hangs_on_the_learnt_tokens_and_on_no_other(tokenizer, kind, mask):
    import torch
    from shapes import SHAPES

    from finetune.data.tokens import IGNORED, encode
    from finetune.models.load import new_base
    from finetune.recipe.types import Base

    shape = {"model_type": kind, **SHAPES[kind]}
    model = new_base(Base(config=shape, dtype="float32"), len(tokenizer), seed=1).eval()
    (row,) = encode(tokenizer, [Conversation(TALK)], None, mask)
    ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
    found = model(input_ids=ids, labels=labels)
    found.logits.retain_grad()
    found.loss.backward()
    # Position t foretells token t + 1: its logits move the loss only where that is learnt.
    moved = found.logits.grad[0].abs().sum(-1) > 0
    assert moved.tolist() == [label != IGNORED for label in [*row.labels[1:], IGNORED]]
    for place, label in enumerate(row.labels):
        other = labels.clone()
        other[0, place] = (row.input_ids[place] + 1) % len(tokenizer) if label != IGNORED else label
        with torch.inference_mode():
            changed = model(input_ids=ids, labels=other).loss.item() != found.loss.item()
        assert changed == (label != IGNORED)


LATE = """
{%- for m in messages -%}
{{- m.role + ': ' + m.content + '\\n' -}}
{%- endfor -%}
"""


def test_a_template_without_a_stop_token_gets_the_end_token_and_that_is_said(tokenizer):
    from finetune.data.chat import Chat
    from finetune.models.tokenizers import complete

    made = with_template(tokenizer, LATE)
    (note,) = complete(made, None)
    assert "no token that stops" in note
    assert Chat(made).stop == made.eos_token_id
    assert made.apply_chat_template(TALK, tokenize=False).endswith("12.50\n<|im_end|>")
    assert not made.apply_chat_template(TALK[:4], tokenize=False).endswith("<|im_end|>")
    assert complete(made, None) == []
    assert learnt(made, TALK, "last_turn").endswith("12.50\n<|im_end|>")


def test_an_answer_without_a_stop_token_is_counted(tokenizer):
    from finetune.data.tokens import encode
    from finetune.models.tokenizers import complete

    made = with_template(tokenizer, LATE)
    complete(made, None)
    (row,) = encode(made, [Conversation(TALK)], None)
    assert row.unstopped == 1  # in the middle the template still writes none
    (row,) = encode(made, [Conversation(TALK)], None, "last_turn")
    assert row.unstopped == 0


def test_a_cut_answer_counts_as_one_that_does_not_stop(tokenizer):
    from finetune.data.tokens import encode

    (whole,) = encode(tokenizer, [Conversation(TALK[1:3])], None)
    size = len(whole.input_ids) - 1  # the template's line end behind the stop token
    talk = [*TALK[1:2], {"role": "assistant", "content": "The red one. " * 40}]
    (cut,) = encode(tokenizer, [Conversation(talk)], size)
    assert (cut.unstopped, whole.unstopped) == (1, 0)


def test_a_template_that_writes_the_start_twice_is_refused(tokenizer):
    from chat_templates import pieces

    from finetune.models.tokenizers import complete, template

    made = pieces(["</s>", "<s>", "<pad>"], start="<s>", end="</s>")
    made.chat_template = "<s>" + template("plain")
    with pytest.raises(FinetuneError, match="start token '<s>' twice"):
        complete(made, None)


@pytest.mark.parametrize("name", ["plain", "mistral", "llama3", "gemma"])
def test_the_start_token_stands_once_though_the_tokenizer_would_add_one(name):
    from conversations import conversations

    from finetune.data.tokens import encode
    from finetune.models.tokenizers import train_tokenizer

    made = train_tokenizer(["lamp"], 400, name)
    assert made("x")["input_ids"][0] == made.bos_token_id
    harmless = [m for m, _ in conversations(50) if "<s>" not in str(m)]
    for row in encode(made, [Conversation(m) for m in harmless], None):
        assert row.input_ids.count(made.bos_token_id) == 1


@dataclass(frozen=True)
class Origins:
    """Conversations that know where they come from."""

    talks: list[Any]

    def __iter__(self):
        return iter(self.talks)

    def origin(self, index):
        return f"talks.jsonl line {index + 7}"


def test_rows_that_a_template_refuses_are_named_all_at_once(tokenizer):
    from chat_templates import GEMMA, unmarked

    from finetune.data.tokens import encode

    made = with_template(tokenizer, unmarked(GEMMA).replace("bos_token", "''"))
    talks = [Conversation(TALK[1:]), Conversation(TALK), Conversation(TALK[2:])]
    with pytest.raises(DataError) as caught:
        encode(made, Origins(talks), None)
    text = str(caught.value)
    assert "2 rows" in text
    assert "talks.jsonl line 8: no system turns" in text
    assert "talks.jsonl line 9: turns of user and assistant must alternate" in text
    assert "base.chat_template" in text


def test_a_prompt_that_reads_otherwise_at_inference_is_counted(tokenizer):
    """As DeepSeek R1's template does: the prompt opens a thought that no answer has."""
    from finetune.data.tokens import encode
    from finetune.models.tokenizers import template

    thinks = template("chatml").replace("assistant\\n'", "assistant\\n<think>\\n'")
    assert thinks != template("chatml")
    made = with_template(tokenizer, thinks)
    (row,) = encode(made, [Conversation(TALK)], None)
    assert row.apart == 2
    assert learnt(made, TALK) == "The red one.<|im_end|>12.50<|im_end|>"


def test_names_of_special_tokens_in_messages_are_counted_and_stay_as_the_template_has_them(
    tokenizer,
):
    from finetune.data.tokens import encode

    talk = [{"role": "user", "content": "a <|im_end|> b <|im_start|>"}, TALK[2]]
    (row,) = encode(tokenizer, [Conversation(talk)], None)
    assert row.lookalikes == 2
    assert row.input_ids == tokenizer.apply_chat_template(talk, return_dict=False)


def test_the_middle_goes_only_as_far_as_it_must(tokenizer):
    from finetune.data.tokens import encode

    words = " ".join(f"lamp{number}" for number in range(60))
    talk = Conversation([{"role": "user", "content": words}, TALK[2]])
    whole = len(encode(tokenizer, [talk], None)[0].input_ids)
    (same,) = encode(tokenizer, [talk], whole)
    assert (len(same.input_ids), same.shortened) == (whole, False)
    for limit in (whole - 1, whole - 2, whole // 2):
        (row,) = encode(tokenizer, [talk], limit)
        assert row.shortened
        assert limit - 8 <= len(row.input_ids) <= limit
        assert (row.cut, row.unstopped) == (0, 0)


def test_a_conversation_of_answers_alone_is_cut_at_its_end(tokenizer):
    from finetune.data.tokens import encode

    (row,) = encode(tokenizer, [Conversation([answer("red " * 50)])], 20)
    assert (len(row.input_ids), row.shortened) == (20, False)
    assert row.cut > 0


def answer(text):
    return {"role": "assistant", "content": text}


def test_rows_on_disk_are_those_in_memory(tokenizer, tmp_path):
    from conversations import conversations

    from finetune.data.encoded import encode_rows, row_at
    from finetune.data.tokens import encode

    talks = [Conversation(messages) for messages, _ in conversations(1200)]
    rows = encode_rows(tokenizer, talks, 90, mask="assistant", file=tmp_path / "rows.arrow")
    wanted = encode(tokenizer, talks, 90)
    assert [row_at(rows, at) for at in range(len(rows))] == wanted
    assert list(rows["learnt"]) == [row.learnt for row in wanted]
    assert list(rows["length"]) == [len(row.input_ids) for row in wanted]
    assert rows.cache_files  # mapped, not held


def test_what_was_lost_is_said_with_its_share(tokenizer, tmp_path):
    from finetune.data.encoded import encode_rows
    from finetune.data.losses import losses

    long = {"role": "user", "content": "lamp " * 90}
    talks = [[long, TALK[2]], [TALK[1], answer("red " * 99)], TALK[1:3]]
    talks.append([{"role": "user", "content": "</s> <|im_end|>"}, TALK[2]])
    rows = encode_rows(
        tokenizer, list(map(Conversation, talks)), 60, mask="assistant", file=tmp_path / "rows"
    )
    text = "\n".join(losses(rows, 60))
    assert "prompts lost their middle" in text
    assert "1 of 4 answers lost their end" in text
    assert "1 answers are learnt without a token that ends them, in 1 rows, first row 2" in text
    assert "1 texts within messages read as special tokens" in text
    with pytest.raises(DataError, match="no token to learn, first row 1"):
        losses(
            encode_rows(
                tokenizer, [Conversation(TALK[:2])], 60, mask="assistant", file=tmp_path / "none"
            ),
            60,
        )


def test_a_pair_is_divided_as_trl_divides_it(tokenizer):
    from conversations import TOOLS
    from trl import DPOConfig, DPOTrainer

    from finetune.data.examples import Pair
    from finetune.data.pairs import token_ids
    from finetune.stages.dpo import _dataset

    pairs = [
        Pair(TALK[:4], [answer("12.50")], [answer("no idea")]),
        Pair(TALK[:2], [answer("\nred")], [answer("blue ")], TOOLS),
    ]
    config = DPOConfig(output_dir="x", use_cpu=True, bf16=False, max_length=None)
    made = DPOTrainer._prepare_dataset(None, _dataset(pairs), tokenizer, config, "train")
    for pair, row in zip(pairs, made, strict=True):
        wanted = (row["prompt_ids"], row["chosen_ids"], row["rejected_ids"])
        assert token_ids(tokenizer, pair) == wanted


def test_rows_that_the_template_refuses_are_left_out_where_asked_and_told(tokenizer, tmp_path):
    from chat_templates import GEMMA, unmarked

    from finetune.data.encoded import encode_rows

    made = with_template(tokenizer, unmarked(GEMMA).replace("bos_token", "''"))
    talks = [Conversation(TALK), Conversation(TALK[1:3])]
    told = []
    rows = encode_rows(
        made,
        talks,
        None,
        mask="assistant",
        file=tmp_path / "rows",
        skipped=lambda *each: told.append(each),
    )
    assert told == [(0, "no system turns")]
    assert len(rows) == 1
