"""What the package brings along: small bases, samples and the shipped recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parent / "assets"
BASES = ("tiny-mistral", "tiny-mpt")


def base_folder(name: str) -> Path | None:
    """Folder of a built-in base, None when `name` is not one."""
    return ASSETS / "bases" / name if name in BASES else None


def is_path(name: str) -> bool:
    """Whether a model's name can only be a folder: no hub id is written so."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def template_names() -> list[str]:
    """The chat templates that ship."""
    return sorted(file.stem for file in (ASSETS / "templates").glob("*.jinja"))


def template_file(name: str) -> Path:
    """The file of a chat template: a shipped one by its name, or a .jinja file by its path."""
    if name in template_names():
        return ASSETS / "templates" / f"{name}.jinja"
    return Path(name).expanduser()


def rubric_file(name: str) -> Path:
    """What a judge is asked by a shipped rubric."""
    return ASSETS / "rubrics" / f"{name}.yaml"


def sample_files(name: str, split: str) -> tuple[Path, ...]:
    """Files of one split of an embedded sample; empty when it has no such split."""
    return tuple(sorted((ASSETS / "samples" / name).glob(f"{split}.jsonl*")))


def sample_splits(name: str) -> list[str]:
    """Splits that an embedded sample has."""
    return sorted(p.name.split(".")[0] for p in (ASSETS / "samples" / name).glob("*.jsonl*"))


def known_shapes() -> dict[str, dict[str, Any]]:
    """Fields of the configs of hub bases that shipped recipes name, for planning without them."""
    found: dict[str, dict[str, Any]] = json.loads((ASSETS / "shapes.json").read_text("utf-8"))
    return found


def recipe_folder() -> Path:
    """The shipped recipes."""
    return _shipped("recipes")


def profile_folder() -> Path:
    """The shipped launch profiles."""
    return _shipped("launch")


def constraints_file() -> Path:
    """The versions that were tested together."""
    return _shipped("constraints.txt")


def _shipped(name: str) -> Path:
    """What lies beside the package in the wheel, and at the top of a checkout."""
    installed = ASSETS / name
    return installed if installed.exists() else Path(__file__).parents[2] / name
