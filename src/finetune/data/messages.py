"""Messages of any origin as chat templates take them: one set of roles, texts as texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from finetune.data.examples import BadRow, Message, Tools

# What data sets call the speakers. `function_call` is a turn of the assistant that calls a tool.
ROLES = {
    "system": "system",
    "developer": "developer",
    **dict.fromkeys(("user", "human", "prompter", "User", "Human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "Assistant"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "tool_response"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),
}
KEPT = ("name", "tool_call_id", "reasoning_content", "thinking", "train", "weight")
CALLS = {"function_call", "tool_call"}


def messages(value: Any, column: str) -> list[Message]:
    """A list of messages, in OpenAI's keys or ShareGPT's, or the JSON text of one.

    Raises:
        BadRow: it is no such list, or one of its turns has no text, role or valid tool call.
    """
    value = _parsed(value, column) if isinstance(value, str) else value
    if not isinstance(value, list) or not value:
        raise BadRow(f"{column!r} is {brief(value)}, wanted is a list of messages")
    return [_message(each, f"{column}[{number}]") for number, each in enumerate(value, start=1)]


def text(row: Mapping[str, Any], column: str) -> str:
    """The text in a column, untouched.

    Raises:
        BadRow: there is none, or nothing but space.
    """
    value = row.get(column)
    if value is None or value == [] or (isinstance(value, str) and not value.strip()):
        raise BadRow(f"{column!r} is missing or empty")
    if not isinstance(value, str):
        if isinstance(value, int | float) and not isinstance(value, bool):
            # One reason for all rows, whatever the numbers.
            raise BadRow(f"{column!r} is a number, wanted is a text: put it in quotes")
        raise BadRow(f"{column!r} is {brief(value)}, wanted is a text")
    return value


def prompt(row: Mapping[str, Any], column: str) -> list[Message]:
    """A prompt given as text or as messages."""
    if is_list(row.get(column)):
        return messages(row[column], column)
    return [user(text(row, column))]


def answer(row: Mapping[str, Any], column: str) -> list[Message]:
    """An answer given as text, or as one message of the assistant, alone or in a list."""
    value = row.get(column)
    if not (is_list(value) or isinstance(value, dict)):
        return [assistant(text(row, column))]
    turns = messages([value] if isinstance(value, dict) else value, column)
    if [turn["role"] for turn in turns] != ["assistant"]:
        raise BadRow(f"{column!r} is not one message of the assistant")
    return turns


def tools(row: Mapping[str, Any]) -> Tools | None:
    """The tools a conversation may call: a list of descriptions, or its JSON text."""
    value = row.get("tools")
    if value is None or value in ("", []):
        return None
    value = _parsed(value, "tools") if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise BadRow(f"'tools' is {brief(value)}, wanted is a list of tool descriptions")
    return value or None


def system(row: Mapping[str, Any]) -> list[Message]:
    """The system's turn, where the row has a column for it that is not empty."""
    for column in ("system", "system_prompt"):
        if row.get(column) not in {None, ""}:
            return [{"role": "system", "content": text(row, column)}]
    return []


def user(content: str) -> Message:
    """A message of the user."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """A message of the assistant."""
    return {"role": "assistant", "content": content}


def as_messages(content: str | list[Message], role: str) -> list[Message]:
    """Messages as they are; a text becomes one message of `role`."""
    return [{"role": role, "content": content}] if isinstance(content, str) else list(content)


def is_list(value: Any) -> bool:
    """Whether this is a list, or may be the JSON text of a list of objects."""
    return isinstance(value, list) or (isinstance(value, str) and value.lstrip()[:2] == "[{")


def brief(value: Any) -> str:
    """A value, cut short, for a message."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _message(each: Any, where: str) -> Message:
    if not isinstance(each, dict):
        raise BadRow(f"{where} is {brief(each)}, wanted is a message {{role, content}}")
    named = each.get("role", each.get("from"))
    role = ROLES.get(named) if isinstance(named, str) else None
    if role is None:
        raise BadRow(f"{where} has the role {brief(named)}; known: {', '.join(sorted(ROLES))}")
    content = each.get("content", each.get("value"))
    if named in CALLS:
        return {"role": role, "content": "", "tool_calls": _calls(content, where)}
    found: Message = {"role": role, "content": _content(content, where, each)}
    if each.get("tool_calls"):
        found["tool_calls"] = _calls(each["tool_calls"], where)
    for key in KEPT:
        if each.get(key) is not None:
            found[key] = each[key]
    if role == "assistant" and not found["content"].strip() and "tool_calls" not in found:
        raise BadRow(f"{where}: the assistant says nothing")
    return found


def _content(value: Any, where: str, message: Message) -> str:
    if value is None and message.get("tool_calls"):
        return ""
    if isinstance(value, list) and all(_is_text_part(part) for part in value):
        value = "".join(part["text"] for part in value)
    if not isinstance(value, str):
        raise BadRow(f"{where} has the content {brief(value)}, wanted is a text")
    return value


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part["text"], str)


def _calls(value: Any, where: str) -> list[dict[str, Any]]:
    value = _parsed(value, where) if isinstance(value, str) else value
    calls: Sequence[Any] = value if isinstance(value, list) else [value]
    return [_call(each, where) for each in calls]


def _call(each: Any, where: str) -> dict[str, Any]:
    function = each.get("function", each) if isinstance(each, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRow(f"{where} has the tool call {brief(each)}, wanted is {{name, arguments}}")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        arguments = _parsed(arguments, f"{where}, arguments of {function['name']}")
    if not isinstance(arguments, dict):
        raise BadRow(f"{where}: arguments are {brief(arguments)}, wanted is an object")
    call = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {"id": each["id"], **call} if each.get("id") is not None else call


def _parsed(value: str, where: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise BadRow(f"{where} is {brief(value)}, which is not JSON") from None
