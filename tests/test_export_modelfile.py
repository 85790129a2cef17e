"""Ollama's template says what the model's own says, in a small reading of Go's language."""

import re

import pytest

from finetune.errors import FinetuneError

pytestmark = pytest.mark.heavy

LLAMA3 = """{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""  # noqa: E501
GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}{% for message in messages %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' + message['content'] + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"""  # noqa: E501
DEFAULT_SYSTEM = """{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""  # noqa: E501
SYSTEM_LAST = """{% for message in messages %}{% if message.role == 'user' %}{{ '[INST]' }}{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content + '\n' }}{% endif %}{{ message.content + '[/INST]' }}{% elif message.role == 'assistant' %}{{ message.content + '</s>' }}{% endif %}{% endfor %}"""  # noqa: E501
BRACES = """{% for message in messages %}{{ '{{' + message.role + '}}' + message.content + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '{{assistant}}' }}{% endif %}"""  # noqa: E501

TALKS = [
    [("user", "Hi")],
    [("user", "Hi"), ("assistant", "Hello"), ("user", "And {{ you }}?")],
    [("system", "Be brief."), ("user", "Hi")],
    [("system", "Be brief."), ("user", "Hi"), ("assistant", "Yo"), ("user", "Bye")],
]


@pytest.fixture(scope="module")
def tokenizer():
    from finetune.models.tokenizers import load_tokenizer
    from finetune.recipe.types import Base

    return load_tokenizer(Base(model="tiny-mistral"))[0]


def shipped(name):
    from finetune.models.tokenizers import template

    return template(name)


TEMPLATES = {
    "mistral": lambda: shipped("mistral"),
    "chatml": lambda: shipped("chatml"),
    "plain": lambda: shipped("plain"),
    "llama 3": lambda: LLAMA3,
    "gemma": lambda: GEMMA,
    "default system": lambda: DEFAULT_SYSTEM,
    "braces": lambda: BRACES,
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_ollama_renders_what_the_template_renders(name, tokenizer):
    from finetune.export.modelfile import modelfile

    tokenizer.chat_template = TEMPLATES[name]()
    text = modelfile("m.gguf", tokenizer, 1024)
    go = re.search(r'TEMPLATE """(.*?)"""', text, re.DOTALL)[1]
    for talk in TALKS:
        if name == "gemma" and talk[0][0] == "system":
            continue
        messages = [{"role": role, "content": content} for role, content in talk]
        wanted = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        assert render(go, messages) == wanted.removeprefix(tokenizer.bos_token)
    assert text.startswith("FROM ./m.gguf\n")
    assert 'PARAMETER stop "</s>"' in text


def test_a_template_that_does_more_than_wrap_turns_is_refused(tokenizer):
    from finetune.export.modelfile import turns

    tokenizer.chat_template = SYSTEM_LAST
    with pytest.raises(FinetuneError, match="Ollama's template language cannot say"):
        turns(tokenizer)


def test_spaces_that_a_template_takes_off_are_told(tokenizer):
    from finetune.export.modelfile import turns

    tokenizer.chat_template = LLAMA3
    assert turns(tokenizer).strips
    tokenizer.chat_template = shipped("chatml")
    assert not turns(tokenizer).strips


def render(template, messages):
    """Go's text/template as far as a Modelfile uses it: if, else if, else, range, variables."""
    parts = re.split(r"\{\{(.*?)\}\}", re.sub(r'\{\{ "\{\{" \}\}', "\0", template))
    tokens = [(at % 2, part.strip() if at % 2 else part) for at, part in enumerate(parts)]
    system = any(each["role"] == "system" for each in messages)
    out = []
    run(tokens, 0, out, {"System": system, "Messages": messages})
    return "".join(out).replace("\0", "{{")


def run(tokens, at, out, scope, live=True):
    """One block up to its end, else or the end of all; returns where it stopped."""
    while at < len(tokens):
        is_action, text = tokens[at]
        at += 1
        if not is_action:
            out.append(text if live else "")
        elif text == "end" or text.startswith("else"):
            return at - 1
        elif text.startswith("if "):
            at = branch(tokens, at - 1, out, scope, live)
        elif text.startswith("range "):
            for message in scope["Messages"] if live else [{}]:
                stop = run(tokens, at, out, {"parent": scope, **message}, live)
            at = stop + 1
        elif live:
            action(text, out, scope)
    return at


def branch(tokens, at, out, scope, live):
    taken = False
    while True:
        words = tokens[at][1].removeprefix("else").strip()
        holds = words == "" or is_true(words.removeprefix("if "), scope)
        at = run(tokens, at + 1, out, scope, live and holds and not taken)
        taken = taken or holds
        if tokens[at][1] == "end":
            return at + 1


def is_true(words, scope):
    if words.startswith("eq .Role "):
        return scope.get("role") == words.split('"')[1]
    if words.startswith("not $"):
        return not variables(scope)[words.removeprefix("not $")]
    return bool(scope[words.removeprefix(".")])


def variables(scope):
    while "parent" in scope:
        scope = scope["parent"]
    return scope.setdefault("variables", {})


def action(text, out, scope):
    if text == ".Content":
        out.append(scope["content"])
    else:
        name, _, value = re.fullmatch(r"\$(\w+) (:?=) (true|false)", text).groups()
        variables(scope)[name] = value == "true"
