"""What a recipe says of an LLM judge: who is asked, and what."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, Literal

import yaml

from finetune.embedded import rubric_file, template_names
from finetune.recipe.blocks import ENVIRONMENT, Settings, fills

TEMPLATE = {**ENVIRONMENT, "known": template_names()}


@dataclass(frozen=True, kw_only=True)
class Rubric:
    """What a judge is asked and what its answer holds; a name alone takes a shipped one."""

    name: Literal["stories", "pairwise"] | None = None  # a shipped rubric; other keys change it
    # what the judge is asked; {prompt} and {answer}, {story} (both with *** between), or {first}
    # and {second} stand for the texts
    prompt: str | None = None
    aspects: tuple[str, ...] = ()  # each marked from 1 to `scale`
    scale: int | None = None  # the highest mark; None: 10
    # {what the judge chooses: "lowest | … | highest"}; the number of the choice is reported
    choices: dict[str, str] = field(default_factory=dict)
    # the model goes on with the prompt as plain text, without a chat template
    continues: bool | None = None

    @property
    def is_pairwise(self) -> bool:
        """Whether it compares two answers."""
        return "{first}" in (self.prompt or "")

    @property
    def highest(self) -> int:
        """The highest mark."""
        return self.scale or 10

    def options(self) -> dict[str, list[str]]:
        """The values of each choice, from the lowest."""
        return {name: [o.strip() for o in text.split("|")] for name, text in self.choices.items()}


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A model that judges: a local one, or one behind an OpenAI-compatible endpoint."""

    # a built-in name, a folder or a hub id; with `endpoint`, the name it has there
    model: str = field(metadata=ENVIRONMENT)
    # the address before /chat/completions, such as http://localhost:8000/v1
    endpoint: str | None = field(default=None, metadata=ENVIRONMENT)
    api_key_env: str | None = None  # endpoint: the environment variable that holds the key
    max_tokens: int = 512  # of a reply
    concurrency: int = 4  # endpoint: requests at once
    timeout: float = 60.0  # endpoint: seconds to wait for a reply
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Settings | None = field(default=None, metadata=fills("BitsAndBytesConfig"))
    chat_template: str | None = field(default=None, metadata=TEMPLATE)


def resolved(rubric: Rubric) -> Rubric:
    """A rubric with what the shipped one of its name says where it says nothing."""
    if rubric.name is None:
        return rubric
    own = {each.name: getattr(rubric, each.name) for each in fields(rubric)}
    written = {key: value for key, value in own.items() if value not in (None, (), {})}
    return replace(_shipped(rubric.name), **written)


@cache
def _shipped(name: str) -> Rubric:
    kept: dict[str, Any] = yaml.safe_load(rubric_file(name).read_text(encoding="utf-8"))
    return Rubric(**{**kept, "aspects": tuple(kept.get("aspects", ()))})
