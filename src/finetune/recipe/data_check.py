"""Whether the keys of a `data` block go together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields

from finetune.recipe.limits import beyond
from finetune.recipe.read import Reading
from finetune.recipe.types import Data, Part, Recipe, Rows, Stage


def data_of(stage: Stage) -> Iterator[tuple[Data, str]]:
    """Each `data` block of a stage, with its place in the recipe."""
    data = getattr(stage, "data", None)
    if isinstance(data, Data):
        yield data, f"{stage.name}.data"
    for number, score in enumerate(getattr(stage, "tasks", None) or (), start=1):
        if score.data is not None:
            yield score.data, f"{stage.name}.tasks[{number}].data"


def seeded(recipe: Recipe) -> None:
    """Give the recipe's seed to data that are shuffled, mixed or shown exemplars, and have none."""
    for stage in recipe.stages:
        for data, _ in data_of(stage):
            if data.seed is None and (data.shuffle or data.mix or data.few_shot):
                object.__setattr__(data, "seed", recipe.seed)


def check_data(data: Data, path: str, reading: Reading) -> None:
    """Note every contradiction in one block."""
    for key in ("rows", "seed"):
        _range(key, getattr(data, key), path, reading)
    for number, part in enumerate(data.mix or (), start=1):
        for key in ("rows", "weight", "cap"):
            _range(key, getattr(part, key), f"{path}.mix[{number}]", reading)
        _shots(part, f"{path}.mix[{number}]", reading)
    _shots(data, path, reading)
    if reading.problems.touch(path):
        return  # which of its keys go together cannot be told before each is in order
    if data.mix:
        _mix(data, path, reading)
    else:
        _rows(data, path, reading, "`task`, `sample`, `path` or `mix`")
        if data.seed is not None and not (data.shuffle or data.few_shot):
            what = "is read only with `shuffle: true`, `few_shot` or `mix`"
            reading.refuse_at(f"{path}.seed", what)


def _shots(rows: Rows, path: str, reading: Reading) -> None:
    for key in ("few_shot", "options"):
        _range(key, getattr(rows, key), path, reading)
    few, most = (*rows.exemplars, 0, 0)[:2]
    if len(rows.exemplars) != 2 or not 1 <= few <= most:
        reading.refuse_at(f"{path}.exemplars", "must be [least, most], from 1 on")
    elif rows.exemplars != Rows.exemplars and not rows.few_shot:
        reading.refuse_at(f"{path}.exemplars", "is read only with `few_shot` above 0")


def _range(key: str, value: object, path: str, reading: Reading) -> None:
    if message := beyond(key, value):
        reading.refuse_at(f"{path}.{key}", message)


def _rows(rows: Rows, path: str, reading: Reading, wanted: str) -> None:
    if rows.task is None and rows.sample is None and rows.path is None:
        reading.refuse_at(path, f"needs {wanted}: where the rows come from")
    if rows.sample is not None and rows.path is not None:
        reading.refuse_at(f"{path}.path", "`sample` names the rows already; keep one of the two")
    for key in ("revision", "streaming"):
        if getattr(rows, key) and rows.path is None:
            reading.refuse_at(f"{path}.{key}", "belongs to the `path` of a hub dataset")
    if rows.format is not None and rows.task is not None:
        reading.refuse_at(f"{path}.format", "`task` says already what the rows mean")


def _mix(data: Data, path: str, reading: Reading) -> None:
    for field in fields(Rows):
        default = field.default if field.default is not MISSING else {}
        if field.name != "rows" and getattr(data, field.name) != default:
            reading.refuse_at(f"{path}.{field.name}", "is of one source: write it in `mix`")
    for number, part in enumerate(data.mix, start=1):
        _rows(part, f"{path}.mix[{number}]", reading, "`task`, `sample` or `path`")
    _weights(data.mix, path, reading)


def _weights(mix: tuple[Part, ...], path: str, reading: Reading) -> None:
    without = [number for number, part in enumerate(mix, start=1) if part.weight is None]
    if without and len(without) < len(mix):
        reading.refuse_at(
            f"{path}.mix[{without[0]}]",
            "has no `weight`; give all sources of a mix one, or none (rows then count)",
        )
