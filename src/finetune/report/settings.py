"""What differs between recipes, key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import yaml

from finetune.recipe.fields import fields_of
from finetune.recipe.types import STAGES
from finetune.report.gather import Run

UNSET = "–"
MADE_WITH = " made with "
WHERE_IT_LIES = ("name", "output_dir")
# Blocks whose fields, left out, are what the library has for them: but for these, which the chain,
# the machine, the model or another setting chooses then.
FILLED = ("lora", "train")
CHOSEN = {
    *("bf16", "fp16", "gradient_checkpointing", "learning_rate", "logging_first_step"),
    *("logging_nan_inf_filter", "logging_steps", "max_length", "max_steps", "num_train_epochs"),
    *("precompute_ref_log_probs", "save_steps", "train_sampling_strategy", "use_liger_kernel"),
}


def differing(runs: list[Run]) -> list[tuple[str, list[str]]]:
    """Keys whose values are not the same in all runs, with the value of each run.

    Where a run leaves out what another sets, the value is the default that holds there.
    """
    recipes = [yaml.safe_load(run.journal.recipe) or {} for run in runs]
    written = [_everything(*each) for each in zip(recipes, runs, strict=True)]
    found = [_defaults(recipe) | each for recipe, each in zip(recipes, written, strict=True)]
    keys = dict.fromkeys(key for each in written for key in each)
    rows = {key: [each.get(key, UNSET) for each in found] for key in keys}
    return [(key, row) for key, row in rows.items() if len(set(row)) > 1 and not _told(key, rows)]


def _told(key: str, rows: Mapping[str, list[str]]) -> bool:
    """Whether other rows tell it already.

    An empty block, of which another run sets fields; a version that all have whose chain has the
    stage.
    """
    if MADE_WITH in key and len(set(rows[key]) - {UNSET}) == 1:
        return True
    return set(rows[key]) <= {"{}", UNSET} and any(each.startswith(f"{key}.") for each in rows)


def _defaults(recipe: dict[str, Any]) -> dict[str, str]:
    """What the fields of blocks are that a recipe leaves out, stage by stage."""
    found = {}
    for stage in recipe.get("stages", ()):
        [kind], [settings] = stage, stage.values()
        name, own = settings.get("name", kind), {"train": {}, **settings}
        for block in fields(STAGES[kind]) if kind in STAGES else ():
            if block.name in FILLED and isinstance(own.get(block.name), dict):
                for key, field in fields_of(block.metadata["fills"][0]).items():
                    if field.default is not None and key not in CHOSEN:
                        found[f"{name}.{block.name}.{key}"] = _text(field.default)
    return found


def _everything(recipe: dict[str, Any], run: Run) -> dict[str, str]:
    """The recipe's settings, the content they were used on, and the versions used."""
    own = {key: value for key, value in recipe.items() if key not in WHERE_IT_LIES}
    found = {path: _text(value) for path, value in _flat(own)}
    for record in run.records:
        for name, content in record.ingredients.get("data", {}).items():
            found[f"{record.name} data: {name}"] = str(content)[:8]
        for name, content in record.ingredients.get("base", {}).get("files", {}).items():
            found[f"base: {name}"] = str(content)[:8]
        for name, version in record.made.get("versions", {}).items():
            found[f"{record.name}{MADE_WITH}{name}"] = str(version)
    return found


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by dotted path; stages and tasks by their names."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _flat(each, f"{path}.{key}" if path and key != "stages" else str(key))
    elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        for each in value:
            name, own = _named(each)
            within = "" if path == "stages" else f"{path}."
            yield from _flat(own, f"{within}{name}")
    else:
        yield path, value


def _named(entry: dict[str, Any]) -> tuple[str, Any]:
    """A stage as (name, settings), a task as (name, itself)."""
    if len(entry) == 1 and isinstance(own := next(iter(entry.values())), dict):
        kind = next(iter(entry))
        return str(own.get("name", kind)), own or {"kind": kind}
    return str(entry.get("name", entry.get("task", ""))), entry


def _text(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
