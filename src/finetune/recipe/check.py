"""What no key can tell alone: ranges, settings beside each other, and whether stages fit together.

A check that rests on a value already refused says nothing.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from finetune.embedded import template_file, template_names
from finetune.recipe import gates
from finetune.recipe.chain_check import check_chain
from finetune.recipe.data_check import check_data, data_of
from finetune.recipe.judge_check import check_judged
from finetune.recipe.leaving import Combine
from finetune.recipe.limits import beyond
from finetune.recipe.pairs import contradictions
from finetune.recipe.problems import near, suggestion
from finetune.recipe.read import Reading
from finetune.recipe.tuning import Esft, LoraPlus
from finetune.recipe.types import (
    ATTENTIONS,
    SCORED,
    Base,
    Evaluate,
    Merge,
    Recipe,
    Score,
    Settings,
    Stage,
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Places at the top of a recipe that a stage's name would hide, and the base's own name.
TAKEN = {*(field.name for field in fields(Recipe)), "extends", "launch"}

HARNESS = "lm-evaluation-harness"
LIKELY = {"loss", "perplexity", "preference"}
# Keys of a score that only some tasks read.
OF_TASK: dict[str, tuple[str, ...]] = {
    "reference": ("preference",),
    "metrics": ("generic",),
    "suite": ("text_to_sql",),
    "max_length": ("perplexity",),
    "stride": ("perplexity",),
    "rubric": ("judge",),
    "judge": ("judge",),
    "against": ("judge",),
    "include_path": (HARNESS,),
    "num_fewshot": (HARNESS,),
    "apply_chat_template": (HARNESS,),
}


def check(recipe: Recipe, reading: Reading) -> None:
    """Note every contradiction."""
    _name(recipe.name, "name", reading)
    _range("seed", recipe.seed, "seed", reading)
    _base(recipe.base, reading)
    for each in fields(recipe.audit):
        limits = getattr(recipe.audit, each.name)
        for key in ("warn", "refuse"):
            _range(key, getattr(limits, key, None), f"audit.{each.name}.{key}", reading)
    for stage in recipe.stages:
        _stage(stage, reading)
    check_chain(recipe, reading)


def _base(base: Base, reading: Reading) -> None:
    _settings("base", "quantization", base.quantization, "base", reading)
    _template(base.chat_template, "base.chat_template", reading)
    _attention(base.attn_implementation, reading)
    if base.tokenizer is not None:
        _range("vocab_size", base.tokenizer.vocab_size, "base.tokenizer.vocab_size", reading)
    if reading.problems.touch("base"):
        return  # which of its keys go together cannot be told before each is in order
    if base.model is None and base.config is None:
        reading.refuse_at("base", "needs `model` (weights that exist) or `config` (random ones)")
    if base.model is not None and base.config is not None:
        reading.refuse_at("base.config", "`model` says where weights are; keep one of the two")
    if base.config is not None and base.tokenizer is None:
        reading.refuse_at("base.config", "random weights need a `tokenizer: {vocab_size: 4096}`")
    if base.config is None and base.tokenizer is not None:
        reading.refuse_at("base.tokenizer", "belongs to `config`; a model brings its own tokenizer")
    for key in ("quantization", "revision"):
        if base.config is not None and getattr(base, key) is not None:
            reading.refuse_at(f"base.{key}", "belongs to `model`: random weights have none")
    if base.quantization is not None and not _loads(base.quantization):
        reading.refuse_at("base.quantization", "set `load_in_4bit: true` or `load_in_8bit: true`")


def _attention(name: str | None, reading: Reading) -> None:
    if name is None or name in ATTENTIONS:
        return
    what = f"no such attention: {name!r}{suggestion(name, ATTENTIONS)}"
    if "/" in name:
        what = (
            f"{name!r} is code from the hub, and none of it is run here; install the package and "
            f"take one of {', '.join(ATTENTIONS)}"
        )
    reading.refuse_at("base.attn_implementation", what)


def _template(name: str | None, path: str, reading: Reading) -> None:
    names = template_names()
    if name is None or name in names or (name.endswith(".jinja") and template_file(name).is_file()):
        return
    if name.endswith(".jinja"):
        what = f"no such file: {name!r}; relative paths start at {Path.cwd()}"
    else:
        what = f"no such template: {name!r}{suggestion(name, names)}"
        what += "; or give the path of a .jinja file"
    reading.refuse_at(path, what)


def _loads(quantization: Settings) -> bool:
    return any(quantization.get(key) for key in ("load_in_4bit", "load_in_8bit"))


def _stage(stage: Stage, reading: Reading) -> None:
    _name(stage.name, stage.name, reading)
    if stage.name in TAKEN:
        reading.refuse_at(
            stage.name, f"a stage cannot be named {stage.name!r}: choose another name"
        )
    for data, path in data_of(stage):
        check_data(data, path, reading)
    for field in fields(stage):
        value = getattr(stage, field.name)
        if isinstance(value, dict):
            _settings(stage.kind, field.name, value, stage.name, reading)
        elif isinstance(value, Combine | LoraPlus | Esft):
            for inner in fields(value):
                path = f"{stage.name}.{field.name}.{inner.name}"
                _range(inner.name, getattr(value, inner.name), path, reading)
        else:
            _range(field.name, value, f"{stage.name}.{field.name}", reading)
    if isinstance(stage, Evaluate | Merge):
        _scores(stage, reading)
    if isinstance(stage, Evaluate):
        for number, model in enumerate(stage.models or (), start=1):
            place = f"{stage.name}.models[{number}].chat_template"
            _template(model.chat_template, place, reading)
        _require(stage, reading)
    tokens = f"{stage.name}.batch_tokens"
    if getattr(stage, "batch_tokens", None) and f"{stage.name}.batch_size" in reading.places:
        reading.refuse_at(tokens, "`batch_size` counts a step in rows already; keep one of the two")


def _settings(
    kind: str, block: str, settings: Settings | None, above: str, reading: Reading
) -> None:
    for key, value in (settings or {}).items():
        _range(key, value, f"{above}.{block}.{key}", reading)
    if reading.problems.touch(f"{above}.{block}"):
        return  # a mistyped key may be the very one that another needs
    for key, message in contradictions(kind, block, settings or {}):
        reading.refuse_at(f"{above}.{block}.{key}", message)


def _range(field: str, value: Any, path: str, reading: Reading) -> None:
    if message := beyond(field, value):
        reading.refuse_at(path, message)


def _name(name: str, path: str, reading: Reading) -> None:
    if isinstance(name, str) and not NAME.fullmatch(name):
        reading.refuse_at(path, f"{name!r} becomes a folder: use letters, digits, '-', '_' and '.'")


def _scores(stage: Evaluate | Merge, reading: Reading) -> None:
    seen: set[str] = set()
    needs = isinstance(stage, Evaluate) and stage.tasks == ()
    if needs and not reading.problems.touch(f"{stage.name}.tasks"):
        reading.refuse_at(f"{stage.name}.tasks", "name one task or more, or remove the stage")
    for number, score in enumerate(stage.tasks or (), start=1):
        path = f"{stage.name}.tasks[{number}]"
        for key in ("rows", "max_length", "stride", "num_fewshot"):
            _range(key, getattr(score, key), f"{path}.{key}", reading)
        if score.suite is not None:
            _range("copies", score.suite.copies, f"{path}.suite.copies", reading)
        _score(score, path, reading)
        if score.name in seen:
            reading.refuse_at(path, f"a score named {score.name!r} stands above; give it a `name`")
        seen.add(score.name)
        _name(score.name, f"{path}.name", reading)


def _score(score: Score, path: str, reading: Reading) -> None:
    if isinstance(score.task, str) and score.task not in SCORED:
        _foreign(score, path, reading)
    likely = score.task in LIKELY
    needs = likely or score.task in {"generic", "judge"}
    if needs and score.data is None and not reading.problems.touch(path):
        reading.refuse_at(path, f"the task {score.task!r} needs `data`")
    for field, tasks in OF_TASK.items():
        if getattr(score, field) not in (None, (), False) and not _takes(score.task, tasks):
            reading.refuse_at(f"{path}.{field}", f"is read only with {_listed(tasks)}")
    if score.task == "judge":
        check_judged(score, path, reading)
    if score.stride and score.max_length and score.stride >= score.max_length:
        reading.refuse_at(f"{path}.stride", "must be below `max_length`, or tokens would be lost")
    own = score.data.task if score.data else None
    if not likely and own not in {None, score.task}:
        reading.refuse_at(f"{path}.data", f"these are rows of {own!r}, not of {score.task!r}")


def _takes(task: str | None, tasks: tuple[str, ...]) -> bool:
    return task is None or task in tasks or (HARNESS in tasks and task not in SCORED)


def _listed(tasks: tuple[str, ...]) -> str:
    return " or ".join(HARNESS if each == HARNESS else f"`task: {each}`" for each in tasks)


def _foreign(score: Score, path: str, reading: Reading) -> None:
    """A name that is none of ours: a task of lm-evaluation-harness, or a slip."""
    if (match := near(score.task, SCORED)) and score.include_path is None:
        reading.refuse_at(f"{path}.task", f"no task {score.task!r}; did you mean '{match}'?")
    if score.data is not None:
        reading.refuse_at(f"{path}.data", f"{score.task!r}, a task of {HARNESS}, has its own rows")


def _require(stage: Evaluate, reading: Reading) -> None:
    """Gates that can be read; `check_chain` knows the models."""
    tasks = tuple(score.name for score in stage.tasks or () if score.name)
    for name, rule in (stage.require or {}).items():
        try:
            gates.parse(name, str(rule), tasks)
        except ValueError as error:
            reading.refuse_at(f"{stage.name}.require.{name}", str(error))
