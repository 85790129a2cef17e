"""The key of a stage: a hash of all that decides its result, and of nothing else.

Hardware, names, folders and library versions are not in it: the same content gives the same key
wherever it lies, so that a run can be moved, renamed and taken from a laptop to a cluster.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune.chain.fingerprint import Fingerprints
from finetune.chain.inputs import adapter_path, base_files, base_path, sources
from finetune.chain.links import BASE, combined, evaluations, parent, scored_models
from finetune.embedded import template_file
from finetune.recipe.types import (
    Base,
    Candidate,
    Evaluate,
    Export,
    Merge,
    Recipe,
    Stage,
    base_of,
)
from finetune.tasks import TASKS, scored


@dataclass(frozen=True)
class Keyed:
    """A stage's key, and what it was made from (kept to explain later why it differs)."""

    key: str
    ingredients: dict[str, Any]

    @property
    def short(self) -> str:
        """Enough of the key to name a folder."""
        return self.key[:8]


def keys(recipe: Recipe, prints: Fingerprints) -> dict[str, Keyed]:
    """The key of every stage by its name, in the order they run."""
    base = _base(recipe, prints)
    made: dict[str, Keyed] = {}
    for stage in recipe.stages:
        ingredients = plain(
            {
                "kind": stage.kind,
                "version": stage.version,
                "seed": recipe.seed,
                "base": base,
                "data": _data(stage, prints),
                "tasks": _task_versions(stage),
                "judges": _judges(stage, prints),
                **_settings(stage),
                **_parents(recipe, stage, made, prints),
            }
        )
        made[stage.name] = Keyed(digest(ingredients), ingredients)
    return made


def digest(ingredients: dict[str, Any]) -> str:
    """Hash of plain data, the same for any order of keys."""
    text = json.dumps(ingredients, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def plain(value: Any) -> Any:
    """As JSON has it: 1.0 is 1, and what is None is left out, as if it had not been written."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _settings(stage: Stage) -> dict[str, Any]:
    settings = asdict(stage)
    # The others have keys of their own; `require` judges a result and changes none.
    for other in ("name", "from_", "models", "require"):
        settings.pop(other, None)
    if not settings.get("tasks"):
        settings.pop("tasks", None)  # a merge that scores nothing
    if settings.get("combine"):
        settings["combine"].pop("adapters")
    for task in settings.get("tasks", ()):
        # What changes no reply; a judge on this machine counts by its content.
        unread = ("api_key_env", "concurrency", "timeout", *_where(task["judge"]))
        task["judge"] = task["judge"] and {**task["judge"], **dict.fromkeys(unread)}
    for data in [settings.get("data"), *(task["data"] for task in settings.get("tasks", ()))]:
        if data is not None:
            for by_content in (data, *data["mix"]):
                # Content counts, not where it lies or how it comes; what is read is the same.
                by_content |= {"path": None, "streaming": None}
            data["on_bad_row"] = None  # with rows refused there is a result only in one way
    for task in settings.get("tasks", ()):
        task["include_path"] = None
    return {"settings": settings}


def _where(judge: dict[str, Any] | None) -> tuple[str, ...]:
    return () if judge is None or judge["endpoint"] else ("model",)


def _parents(
    recipe: Recipe, stage: Stage, made: dict[str, Keyed], prints: Fingerprints
) -> dict[str, Any]:
    if isinstance(stage, Evaluate):
        # The names too: they head the rows of the scores.
        models = scored_models(recipe, stage)
        return {"models": [[each.name, _scored(each, made, prints)] for each in models]}
    if isinstance(stage, Merge) and stage.combine:
        return {"adapters": [made[each.name].key for each in combined(recipe, stage)]}
    before = parent(recipe, stage)
    if isinstance(stage, Export):
        scores = [made[each.name].key for each in evaluations(recipe, stage)]
        return {"from": made[before.name].key if before else None, "scores": scores}
    return {"from": made[before.name].key if before else None}


def _judges(stage: Stage, prints: Fingerprints) -> dict[str, Any] | None:
    """Judges on this machine, by their content."""
    found = {
        score.name: _content(base_of(score.judge), prints)
        for score in getattr(stage, "tasks", ())
        if score.judge and not score.judge.endpoint
    }
    return found or None


def _scored(model: Candidate, made: dict[str, Keyed], prints: Fingerprints) -> str:
    """The key of a model to score: of its stage, or of the content that comes from outside."""
    if model.model is None:
        return "" if model.name == BASE else made[model.name].key
    if folder := adapter_path(model):
        return digest({file.name: prints.of(file) for file in base_files(folder)})
    return digest(plain(_content(model.base(), prints)))


def _base(recipe: Recipe, prints: Fingerprints) -> dict[str, Any]:
    base = _content(recipe.base, prints)
    if recipe.base.tokenizer and recipe.stages:
        base["tokenizer_data"] = _data(recipe.stages[0], prints)
    return base


def _content(base: Base, prints: Fingerprints) -> dict[str, Any]:
    """A base by what it holds, wherever it lies."""
    content = asdict(base)
    if folder := base_path(base):
        content["model"] = None
        content["files"] = {file.name: prints.of(file) for file in base_files(folder)}
    if (base.chat_template or "").endswith(".jinja"):
        content["chat_template"] = prints.of(template_file(str(base.chat_template)))
    return content


def _task_versions(stage: Stage) -> dict[str, int]:
    """Versions of the prompts and scores that the stage uses."""
    names: set[str] = set()
    if isinstance(stage, Evaluate | Merge):
        names = {score.task for score in stage.tasks}
    elif data := getattr(stage, "data", None):
        # Columns may tell that rows are those of a task, which then words them.
        sources = data.mix or (data,)
        names = {each.task for each in sources if each.task}
        if any(each.task is each.format is None for each in sources):
            names |= TASKS.keys()
    found = {name: scored.version(name) for name in sorted(names)}
    return {name: version for name, version in found.items() if version is not None}


def _data(stage: Stage, prints: Fingerprints) -> dict[str, str]:
    content: dict[str, str] = {}
    for name, source in sources(stage):
        before = f"{name}/" if name else ""
        if source.hub:
            content[f"{before}{source.hub}"] = source.revision or "newest"
        above = _common(source.files)
        for file in (*source.files, *source.beside):
            content[f"{before}{file.relative_to(above)}"] = prints.of(file)
    for score in getattr(stage, "tasks", ()):
        for file in scored.code(score):
            content[f"{score.name}/{file.parent.name}/{file.name}"] = prints.of(file)
    return content


def _common(files: tuple[Path, ...]) -> Path:
    """The folder that all files lie below: one file's own."""
    return Path(os.path.commonpath([file.parent for file in files])) if files else Path()
