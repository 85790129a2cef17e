"""Whether the keys of a score by a judge go together."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from finetune.recipe.judging import Judge, Rubric, resolved
from finetune.recipe.limits import beyond
from finetune.recipe.read import Reading
from finetune.recipe.types import Score

# What one of the texts to judge stands for in a rubric's prompt.
PLACES = ("prompt", "answer", "story", "first", "second")
ASPECT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
LOCAL = ("revision", "quantization", "chat_template")
REMOTE = ("api_key_env", "concurrency", "timeout")


def check_judged(score: Score, path: str, reading: Reading) -> None:
    """Note every contradiction in a score of `task: judge`."""
    if score.judge is None and not reading.problems.touch(f"{path}.judge"):
        reading.refuse_at(path, "the task 'judge' needs `judge`: a local `model`, or an `endpoint`")
    if score.rubric is None and not reading.problems.touch(f"{path}.rubric"):
        reading.refuse_at(path, "the task 'judge' needs a `rubric`: stories, pairwise or your own")
    if score.judge is not None:
        _judge(score.judge, f"{path}.judge", reading)
    if score.rubric is not None and not reading.problems.touch(f"{path}.rubric"):
        _rubric(resolved(score.rubric), score, path, reading)


def _judge(judge: Judge, path: str, reading: Reading) -> None:
    for key in ("max_tokens", "concurrency", "timeout"):
        if message := beyond(key, getattr(judge, key)):
            reading.refuse_at(f"{path}.{key}", message)
    wrong = LOCAL if judge.endpoint else REMOTE
    for key in wrong:
        if f"{path}.{key}" in reading.places:
            whose = "a judge on this machine" if judge.endpoint else "the `endpoint` of a judge"
            reading.refuse_at(f"{path}.{key}", f"belongs to {whose}")
    if judge.endpoint is not None and (fault := _fault(judge.endpoint)):
        reading.refuse_at(f"{path}.endpoint", fault)


def _fault(endpoint: str) -> str:
    """What is wrong with an address, without repeating what may be a secret in it."""
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        return "is no address"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "must be an address such as http://localhost:8000/v1"
    if parts.username or parts.password or parts.query or parts.fragment:
        return (
            "holds more than an address; a key belongs in an environment variable that "
            "`api_key_env` names, so that no record keeps it"
        )
    return ""


def _rubric(rubric: Rubric, score: Score, path: str, reading: Reading) -> None:
    if message := beyond("scale", rubric.scale):
        reading.refuse_at(f"{path}.rubric.scale", message)
    text = rubric.prompt or ""
    if not text:
        reading.refuse_at(f"{path}.rubric", "needs a `name` (stories, pairwise) or a `prompt`")
    elif rubric.is_pairwise != ("{second}" in text) or not any(
        f"{{{each}}}" in text for each in PLACES if each != "prompt"
    ):
        reading.refuse_at(
            f"{path}.rubric.prompt",
            "must hold {answer} or {story}, or both {first} and {second}: the texts to judge",
        )
    elif rubric.is_pairwise:
        _pairwise(rubric, score, path, reading)
    else:
        _marked(rubric, score, path, reading)


def _pairwise(rubric: Rubric, score: Score, path: str, reading: Reading) -> None:
    if score.against is None:
        reading.refuse_at(path, "a pairwise rubric needs `against`: the model to compare with")
    if rubric.aspects or rubric.choices:
        reading.refuse_at(f"{path}.rubric", "two answers are compared as a whole, not by `aspects`")


def _marked(rubric: Rubric, score: Score, path: str, reading: Reading) -> None:
    if score.against is not None:
        reading.refuse_at(f"{path}.against", "is read only with a pairwise rubric")
    names = [*rubric.aspects, *rubric.choices]
    if not names:
        reading.refuse_at(f"{path}.rubric", "needs `aspects`: what the judge gives marks for")
    for name in names:
        if not ASPECT.fullmatch(name) or names.count(name) > 1:
            what = f"{name!r} heads a column: letters, digits and _, each once"
            reading.refuse_at(f"{path}.rubric", what)
    for name, options in rubric.options().items():
        if len(options) < 2 or len({each.lower() for each in options}) < len(options):
            what = "wants two values or more, each once, as `lowest | highest`"
            reading.refuse_at(f"{path}.rubric.choices.{name}", what)
