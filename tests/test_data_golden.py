"""Golden renders: ids of the whole conversation, and masks as other derivations have them."""

from dataclasses import dataclass
from typing import Any

import pytest
from conversations import conversations

from finetune.data.examples import Conversation
from finetune.data.tokens import IGNORED, encode
from finetune.embedded import base_folder

pytestmark = pytest.mark.heavy

COUNT = 1000


@dataclass(frozen=True)
class Talk(Conversation):
    """A conversation with tools."""

    tools: Any = None


def _llama3():
    from chat_templates import LLAMA3, byte_level

    special = ["<|begin_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>"]
    special += ["<|start_header_id|>", "<|end_header_id|>", "<|pad|>"]
    made = byte_level(special, start=special[0], end=special[1], trim=True)
    return made, LLAMA3, {"tools": True}


def _qwen(thinks=False):
    from chat_templates import QWEN, QWEN_THINKS, byte_level

    made = byte_level(["<|im_end|>", "<|im_start|>", "<|endoftext|>"], nfc=True)
    return made, QWEN_THINKS if thinks else QWEN, {"tools": not thinks}


def _mistral(tools=False):
    from chat_templates import MISTRAL, MISTRAL_TOOLS, pieces

    special = ["<s>", "</s>", "[INST]", "[/INST]", "<pad>"]
    if tools:
        names = ("AVAILABLE_TOOLS", "TOOL_RESULTS")
        special += ["[TOOL_CALLS]", *(f"[{end}{name}]" for name in names for end in ("", "/"))]
    made = pieces(special, start="<s>", end="</s>")
    return made, MISTRAL_TOOLS if tools else MISTRAL, {"tools": tools}


def _gemma():
    from chat_templates import GEMMA, pieces

    special = ["<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<pad>"]
    made = pieces(special, start="<bos>", end="<eos>", whole_text=True)
    return made, GEMMA, {"system": False}


def _phi():
    from chat_templates import PHI, pieces

    turns = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    special = ["<|endoftext|>", *turns, "<|placeholder|>"]
    return pieces(special, end="<|endoftext|>", strips=turns), PHI, {}


def _zephyr():
    from chat_templates import ZEPHYR, pieces

    return pieces(["</s>", "<s>", "<pad>"], start="<s>", end="</s>"), ZEPHYR, {}


def _plain():
    from chat_templates import PLAIN, pieces

    made = pieces(["</s>", "<s>", "<pad>"], start="<s>", end="</s>", whole_text=True)
    return made, PLAIN, {}


def _shipped(base):
    from chat_templates import CHATML, MISTRAL
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(base_folder(base))
    return made, {"tiny-mpt": CHATML, "tiny-mistral": MISTRAL}[base], {}


GOLDEN = {
    "mistral": _mistral,
    "mistral with tools": lambda: _mistral(tools=True),
    "llama 3": _llama3,
    "qwen": _qwen,
    "qwen that thinks": lambda: _qwen(thinks=True),
    "gemma": _gemma,
    "phi": _phi,
    "zephyr": _zephyr,
    "plain": _plain,
    "our mpt": lambda: _shipped("tiny-mpt"),
    "our mistral": lambda: _shipped("tiny-mistral"),
}


@dataclass(frozen=True)
class Golden:
    """A tokenizer with its template, the template with answers marked, and conversations."""

    name: str
    tokenizer: Any
    marked: str
    talks: list[Talk]

    def render(self, messages, tools, **more):
        return self.tokenizer.apply_chat_template(messages, tools=tools, **more)


@pytest.fixture(scope="module", params=sorted(GOLDEN))
def golden(request):
    from chat_templates import unmarked

    tokenizer, marked, kind = GOLDEN[request.param]()
    if not request.param.startswith("our "):
        tokenizer.chat_template = unmarked(marked)
    talks = [Talk(messages, tools) for messages, tools in conversations(COUNT, **kind)]
    return Golden(request.param, tokenizer, marked, talks)


@pytest.fixture(scope="module")
def rows(golden):
    return encode(golden.tokenizer, golden.talks, max_length=None)


def test_ids_are_those_of_the_template_applied_to_the_whole(golden, rows):
    for talk, row in zip(golden.talks, rows, strict=True):
        assert row.input_ids == golden.render(talk.messages, talk.tools, return_dict=False)
        assert len(row.labels) == len(row.input_ids)
        assert all(a in (IGNORED, b) for a, b in zip(row.labels, row.input_ids, strict=True))


def test_the_mask_is_that_of_marked_templates(golden, rows):
    if golden.name == "phi":
        pytest.skip("its tokens take in blanks, of which transformers' mask makes answers")
    for talk, row in zip(golden.talks, rows, strict=True):
        marked = golden.render(
            talk.messages,
            talk.tools,
            chat_template=golden.marked,
            return_assistant_tokens_mask=True,
        )
        assert row.input_ids == marked["input_ids"]
        assert [label != IGNORED for label in row.labels] == [
            bool(flag) and at > 0 for at, flag in enumerate(marked["assistant_masks"])
        ], talk


def test_every_answer_ends_in_a_learnt_stop_token(golden, rows):
    added = golden.tokenizer.added_tokens_decoder
    for talk, row in zip(golden.talks, rows, strict=True):
        answers = sum(message["role"] == "assistant" for message in talk.messages)
        assert row.unstopped == 0
        assert sum(label in added for label in row.labels) >= answers
        assert [label for label in row.labels if label != IGNORED][-1] in added


def test_the_mask_is_that_of_prefixes_rendered_and_tokenised_one_by_one(golden, rows):
    """The slow way, with the ids of each prompt; it knows nothing where words merge across."""
    if golden.name in {"mistral with tools", "qwen that thinks"}:
        pytest.skip("writes prefixes in another way than the whole")
    known = 0
    for talk, row in list(zip(golden.talks, rows, strict=True))[:300]:
        wanted = slowly(golden, talk, row.input_ids)
        known += wanted is not None
        assert wanted is None or row.labels == wanted, talk
    assert known > 150


def slowly(golden, talk, ids):
    """Labels from the ids of the prompts and of the beginnings, None where one does not fit."""
    labels = [IGNORED] * len(ids)
    stops = set(golden.tokenizer.added_tokens_decoder)
    if golden.name == "phi":
        stops.remove(golden.tokenizer.eos_token_id)  # stands behind the whole, not an answer
    for at, message in enumerate(talk.messages):
        if message["role"] != "assistant":
            continue
        prompt = golden.render(
            talk.messages[:at], talk.tools, add_generation_prompt=True, return_dict=False
        )
        if ids[: len(prompt)] != prompt:
            return None
        until = golden.render(talk.messages[: at + 1], talk.tools, return_dict=False)
        end = shared(until, ids)
        while ids[end - 1] not in stops:
            end -= 1
        labels[len(prompt) : end] = ids[len(prompt) : end]
    return labels


def shared(first, second):
    """How many ids two lists begin with alike."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(first), len(second)))


REAL = ["cohere", "deepseekv3", "gemma", "gemma3", "lfm2", "llama3", "phi3", "qwen2_5"]


@pytest.mark.parametrize("family", [*REAL, "qwen3_instruct_2507"])
def test_masks_on_real_templates_are_those_of_the_marked_ones_that_trl_brings(family):
    """TRL marks blanks and ends of the whole behind the stop token too, which no model writes."""
    import re
    from pathlib import Path

    import trl
    from chat_templates import byte_level

    folder = Path(trl.__file__).parent / "chat_templates"
    template = (folder / f"{family}.jinja").read_text(encoding="utf-8")
    marked = (folder / f"{family}_training.jinja").read_text(encoding="utf-8")
    names = re.findall(r"<[|｜][^|｜>\s']{1,30}[|｜]>|<(?:start|end)_of_turn>", template)
    special = [*sorted(set(names)), "<s>", "</s>", "<pad>"]
    tokenizer = byte_level(special, start="<s>", end="</s>")
    tokenizer.chat_template = template
    talks = [Talk(messages) for messages, _ in conversations(60, system=False)]
    for talk, row in zip(talks, encode(tokenizer, talks, None), strict=True):
        found = tokenizer.apply_chat_template(
            talk.messages, chat_template=marked, return_assistant_tokens_mask=True
        )
        assert row.input_ids == found["input_ids"]
        assert row.unstopped == 0
        ours = [label != IGNORED for label in row.labels]
        theirs = list(map(bool, found["assistant_masks"]))
        assert all(b for a, b in zip(ours, theirs, strict=True) if a)
        rest = [t for a, b, t in zip(ours, theirs, row.input_ids, strict=True) if b and not a]
        assert tokenizer.decode(rest, skip_special_tokens=True).strip() == ""
