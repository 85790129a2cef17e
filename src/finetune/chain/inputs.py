"""What a recipe reads from outside: the files of its base and the data of each stage."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from finetune.chain.weights import check_adapter, check_files, check_weights
from finetune.data.locate import Source, locate
from finetune.embedded import BASES, base_folder, is_path
from finetune.errors import FinetuneError
from finetune.recipe.types import (
    Base,
    Candidate,
    Data,
    Evaluate,
    Merge,
    Recipe,
    Score,
    Stage,
    base_of,
)
from finetune.scoring import gates
from finetune.tasks import TASKS, scored

# What of a base's folder decides results; `original/` weights, papers and pictures do not.
PARTS = {".safetensors", ".bin", ".json", ".txt", ".model", ".jinja", ".py", ".tiktoken"}


def base_path(base: Base) -> Path | None:
    """Folder of a base that lies on this machine; None for a hub id or random weights."""
    if base.model is None:
        return None
    folder = base_folder(base.model) or Path(base.model).expanduser()
    if not folder.is_dir():
        _refuse_missing(base.model, folder)
        return None
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise FinetuneError(
            "this folder holds an adapter, and a base is a whole model",
            where=f"base.model: {base.model}",
            remedy="Give the base that it was trained on, or the model that a merge stage wrote.",
        )
    if not (folder / "config.json").is_file():
        raise FinetuneError(
            "this folder holds no model (no config.json)",
            where=f"base.model: {base.model}",
            remedy="Give the folder that `save_pretrained` wrote, or a hub id.",
        )
    return folder


def adapter_path(model: Candidate) -> Path | None:
    """Folder of a model to score that is an adapter on the recipe's base."""
    folder = Path(model.model or "").expanduser()
    has = model.model and (folder / "adapter_config.json").is_file()
    return folder.resolve() if has and not (folder / "config.json").is_file() else None


def base_files(folder: Path) -> list[Path]:
    """Weights, config, tokenizer and code of a base."""
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix in PARTS)


def sources(stage: Stage) -> Iterator[tuple[str, Source]]:
    """Each source of rows that `stage` reads, with a short name for messages.

    Raises:
        DataError: a file or split is not there.
    """
    if isinstance(stage, Evaluate | Merge):
        for score in stage.tasks:
            if data := score.data or _test_split(score):
                yield from _located(data, score.name)
    else:
        data = getattr(stage, "data", None)
        if isinstance(data, Data):
            yield from _located(data, data.task or data.sample or "")


def _located(data: Data, name: str) -> Iterator[tuple[str, Source]]:
    """The source of `data`; of a mix, each by its number."""
    if not data.mix:
        yield name, locate(data)
    for number, part in enumerate(data.mix, start=1):
        yield f"{name}/{number}" if name else str(number), locate(part)


def problems(recipe: Recipe) -> list[FinetuneError]:
    """Everything outside the recipe that is missing, each with its place."""
    found: list[FinetuneError] = []
    try:
        _check_base(recipe.base, "base.model")
    except FinetuneError as error:
        found.append(error)
    for stage in recipe.stages:
        for look in (
            lambda stage: list(sources(stage)),
            _check_models,
            _check_judges,
            _check_scores,
        ):
            try:
                look(stage)
            except FinetuneError as error:
                found.append(placed(error, stage.name))
    return found


def _check_base(base: Base, key: str) -> None:
    """What lies here of a base is whole; messages name `key` as its place."""
    where = f"{key}: {base.model}"
    try:
        folder = base_path(base)
    except FinetuneError as error:
        place = error.where.replace("base.model", key)
        raise FinetuneError(error.what, where=place, remedy=error.remedy) from error
    if folder:
        check_weights(folder, where)
    elif base.model and (fetched := _fetched(base)):
        check_files(fetched, where)


def _fetched(base: Base) -> list[Path]:
    """Files of a hub id's weights that the hub's cache on this machine has."""
    from huggingface_hub import try_to_load_from_cache

    try:
        config = try_to_load_from_cache(str(base.model), "config.json", revision=base.revision)
    except ValueError:
        return []  # no name for a hub: told when it is asked
    return sorted(Path(config).parent.glob("*.safetensors")) if isinstance(config, str) else []


def _check_models(stage: Stage) -> None:
    """Models from outside are there and whole."""
    for model in getattr(stage, "models", ()):
        if adapter := adapter_path(model):
            check_adapter(adapter, f"models: {model.model}")
        elif model.model:
            _check_base(model.base(), "models")


def _check_judges(stage: Stage) -> None:
    """Judges on this machine are there and whole."""
    for score in getattr(stage, "tasks", ()):
        if score.judge and not score.judge.endpoint:
            _check_base(base_of(score.judge), "judge")


def _check_scores(stage: Stage) -> None:
    """Metrics that a recipe names are there, those of its gates included."""
    for score in getattr(stage, "tasks", ()):
        scored.code(score)
    if isinstance(stage, Evaluate):
        gates.check_metrics(stage)


def placed(error: FinetuneError, stage: str) -> FinetuneError:
    """The same error, its place beginning with the stage."""
    where = f"{stage}: {error.where}" if error.where else stage
    return FinetuneError(error.what, where=where, remedy=error.remedy)


def together(found: list[FinetuneError], when: str) -> FinetuneError:
    """All problems as one error; a single one stays as it is."""
    if len(found) == 1:
        return found[0]
    text = "\n".join(f"  {line}" for error in found for line in str(error).splitlines())
    return FinetuneError(f"{len(found)} problems {when}\n{text}")


def _test_split(score: Score) -> Data | None:
    """A task's own rows; the other scores have none and name theirs."""
    if score.task in TASKS:
        return Data(task=score.task, split="test")  # type: ignore[arg-type]
    return None


def _refuse_missing(model: str, folder: Path) -> None:
    where = f"base.model: {model}"
    if model in BASES:
        raise FinetuneError(f"the built-in base is not installed at {folder}", where=where)
    if close := difflib.get_close_matches(model, BASES, n=1):
        raise FinetuneError("no such base", where=where, remedy=f"Did you mean {close[0]!r}?")
    if is_path(model):
        raise FinetuneError(
            "no such folder",
            where=where,
            remedy=f"Relative paths start at the current folder, {Path.cwd()}.",
        )
