"""An Ollama Modelfile with the model's own chat template, in the language of Go's templates.

Ollama does not run Jinja: of a GGUF file's template it only recognises well-known ones. So the
template is asked what it puts around each turn, and that is written down. A template that does
more than put text around turns is refused rather than approximated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune.data.examples import Message
from finetune.data.tokens import stop_ids
from finetune.errors import FinetuneError

SYSTEM, USER, ANSWER, LATER = "«system»", "«user»", "«answer»", "«later»"


@dataclass(frozen=True)
class Turns:
    """What a template puts before and after what is said.

    `folded` is the text between a system message and the user message it is written into; None
    where the system has a turn of its own, or none at all (`system` is None then).
    """

    start: str
    user: tuple[str, str]
    answer: tuple[str, str]
    prompt: str
    system: tuple[str, str] | None = None
    folded: str | None = None
    start_with_system: str = ""
    strips: bool = False  # the template takes off spaces around what is said; Ollama does not

    def render(self, messages: Sequence[Message]) -> str:
        """What the Go template below writes for a conversation, an answer to follow."""
        has_system = any(each["role"] == "system" for each in messages)
        text, inside = self.start_with_system if has_system else self.start, False
        for message in messages:
            content = message["content"]
            if message["role"] == "system":
                before, after = self.system or ("", "")
                text += before + content + after
                inside = self.folded is not None
            elif message["role"] == "user":
                text += ("" if inside else self.user[0]) + content + self.user[1]
                inside = False
            else:
                text += self.answer[0] + content + self.answer[1]
        return text + self.prompt


def turns(tokenizer: Any) -> Turns:
    """What the tokenizer's chat template puts around turns.

    Raises:
        FinetuneError: it does something else to some conversation.
    """
    try:
        found = _turns(tokenizer)
    except ValueError as error:
        raise _beyond(str(error)) from error
    if _holds(found, tokenizer, CONVERSATIONS):
        return found
    stripped = [[_says(m["role"], m["content"].strip()) for m in each] for each in CONVERSATIONS]
    if _holds(found, tokenizer, stripped):
        return replace(found, strips=True)
    raise _beyond("it changes what is said, or depends on more than the turn's role")


def _holds(found: Turns, tokenizer: Any, conversations: Sequence[Sequence[Message]]) -> bool:
    return all(
        _text(tokenizer, messages, prompt=True) == found.render(messages)
        for messages in conversations
        if found.system is not None or messages[0]["role"] != "system"
    )


def _beyond(why: str) -> FinetuneError:
    return FinetuneError(
        f"Ollama's template language cannot say what this chat template does: {why}",
        where="ollama",
        remedy="Leave `ollama` out of the formats (llama.cpp runs the template as it is), or give "
        "base.chat_template: chatml, mistral or plain before training.",
    )


def _turns(tokenizer: Any) -> Turns:
    talk = [_says("user", USER), _says("assistant", ANSWER), _says("user", LATER)]
    opening, between, again, user_end = _split(_text(tokenizer, talk), USER, ANSWER, LATER)
    answer_end = _split(_text(tokenizer, talk[:2]), USER, ANSWER)[-1]
    answer_start = _without_start(between, user_end)
    user_start = _without_start(again, answer_end)
    start = _without_end(opening, user_start)
    prompt = _without_start(_text(tokenizer, talk[:1], prompt=True), _text(tokenizer, talk[:1]))
    common = Turns(start, (user_start, user_end), (answer_start, answer_end), prompt)
    return _with_system(common, tokenizer)


def _with_system(common: Turns, tokenizer: Any) -> Turns:
    import jinja2

    try:
        text = _text(tokenizer, [_says("system", SYSTEM), _says("user", USER)])
    except jinja2.TemplateError:
        return common  # the template says that it takes no system message
    before, after, _ = _split(text, SYSTEM, USER)
    user_start = common.user[0]
    if user_start and before.endswith(user_start) and not after.endswith(user_start):
        return replace(
            common,
            system=(user_start, after),
            folded=after,
            start_with_system=_without_end(before, user_start),
        )
    own_start = common.start if before.startswith(common.start) else ""
    return replace(
        common,
        system=(before.removeprefix(own_start), _without_end(after, user_start)),
        start_with_system=own_start,
    )


def _says(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _text(tokenizer: Any, messages: Sequence[Message], prompt: bool = False) -> str:
    return str(
        tokenizer.apply_chat_template(list(messages), add_generation_prompt=prompt, tokenize=False)
    )


def _split(text: str, *marks: str) -> list[str]:
    parts = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            raise ValueError("it leaves out or repeats what is said")
        parts.append(before)
    return [*parts, text]


def _without_start(text: str, start: str) -> str:
    if not text.startswith(start):
        raise ValueError("what stands around a turn depends on the turns beside it")
    return text[len(start) :]


def _without_end(text: str, end: str) -> str:
    if not text.endswith(end):
        raise ValueError("what stands around a turn depends on the turns beside it")
    return text[: len(text) - len(end)]


_U, _A, _S = _says("user", " one"), _says("assistant", "two\n"), _says("system", "be kind")
CONVERSATIONS: tuple[list[Message], ...] = (
    [_U],
    [_U, _A, _U],
    [_U, _A, _says("user", "{{ x }}"), _says("assistant", '"three"'), _U],
    [_S, _U],
    [_S, _U, _A, _U],
)


def modelfile(gguf: str, tokenizer: Any, context: int | None) -> str:
    """The text of a Modelfile beside the GGUF file it names."""
    found = turns(tokenizer)
    ids = tokenizer("a").input_ids
    if ids and ids[0] == tokenizer.bos_token_id:  # Ollama puts it there itself then
        found = _without_bos(found, tokenizer.bos_token)
    lines = [f"FROM ./{gguf}", f'TEMPLATE """{go_template(found)}"""']
    for number in stop_ids(tokenizer):
        lines.append(f'PARAMETER stop "{tokenizer.convert_ids_to_tokens(number)}"')
    if context:
        lines.append(f"PARAMETER num_ctx {min(context, 8192)}")
    return "\n".join(lines) + "\n"


def _without_bos(found: Turns, bos: str) -> Turns:
    system = found.system
    if system and not found.start_with_system:
        system = (system[0].removeprefix(bos), system[1])
    return replace(
        found,
        start=found.start.removeprefix(bos),
        start_with_system=found.start_with_system.removeprefix(bos),
        system=system,
    )


def go_template(found: Turns) -> str:
    """The turns in the language of Go's text/template, with Ollama's names."""
    start, with_system = _literal(found.start), _literal(found.start_with_system)
    head = start
    if found.system is not None and start != with_system:
        head = f"{{{{ if .System }}}}{with_system}{{{{ else }}}}{start}{{{{ end }}}}"
    user = f"{_literal(found.user[0])}"
    if found.folded is not None:
        head = f"{head}{{{{ $inside := false }}}}"
        user = f"{{{{ if not $inside }}}}{user}{{{{ end }}}}{{{{ $inside = false }}}}"
    branches = [("user", user, _literal(found.user[1]))]
    branches.append(("assistant", _literal(found.answer[0]), _literal(found.answer[1])))
    if found.system is not None:
        before, after = map(_literal, found.system)
        if found.folded is not None:
            after += "{{ $inside = true }}"
        branches.insert(0, ("system", before, after))
    body = ""
    for number, (role, before, after) in enumerate(branches):
        word = "else if" if number else "if"
        body += f'{{{{ {word} eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}'
    return (
        f"{head}{{{{ range .Messages }}}}{body}{{{{ end }}}}{{{{ end }}}}{_literal(found.prompt)}"
    )


def _literal(text: str) -> str:
    """Text that Go's template leaves as it is, and that does not end the Modelfile's quotes."""
    if '"""' in text:
        raise _beyond("it holds three quotation marks in a row")
    return text.replace("{{", '{{ "{{" }}')
