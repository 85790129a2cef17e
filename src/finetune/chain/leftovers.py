"""What a run folder holds that nothing needs any more, and its removal.

Needed is what the stages of one recipe keep or would go on from, and what they name by path. What
other settings have left is told apart: a recipe that goes back to them would keep it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from finetune.chain import journal
from finetune.chain import record as records
from finetune.chain.lock import lock
from finetune.chain.mishap import folder_errors
from finetune.chain.plan import Plan
from finetune.chain.record import CHECKPOINTS, Record
from finetune.chain.store import Store
from finetune.recipe.dump import plain

STAGE = re.compile(r"(?P<whole>.+-[0-9a-f]{8})(?P<state>\.part|\.damaged-\d+|)")
TORN = "*.json.*.tmp"  # what a process leaves that was killed while it wrote a file


@dataclass(frozen=True)
class Left:
    """A file or folder; `useful` if settings that a recipe could have again would take it."""

    path: Path
    why: str
    useful: bool = False


@dataclass(frozen=True)
class Wanted:
    """The stages of a recipe by name and key, and the recipe itself as plain data."""

    steps: tuple[tuple[str, str], ...]
    settings: Any

    @classmethod
    def by_plan(cls, plan: Plan) -> Wanted:
        """By a recipe as it is now."""
        return cls(
            tuple((step.stage.name, step.keyed.key) for step in plan.steps), plain(plan.recipe)
        )

    @classmethod
    def by_journal(cls, folder: Path) -> Wanted:
        """By the last run in a folder; nothing is superseded where it left no account."""
        if found := journal.read(folder):
            steps = tuple((each.name, each.key) for each in found.steps)
            return cls(steps, yaml.safe_load(found.recipe))
        return cls((), None)


def leftovers(store: Store, wanted: Wanted) -> list[Left]:
    """What is left over in a run folder, in the order of names."""
    kept = {name: store.find(name, key).record for name, key in wanted.steps}
    needed = _needed(store, wanted, kept)
    found = [
        left
        for path in sorted(store.folder.iterdir())
        if path.is_dir() and not path.is_symlink() and path.name not in needed
        if (left := _judged(path, kept, known=bool(wanted.steps)))
    ]
    return [*found, *_inside(store.folder, {each.path for each in found})]


def remove(store: Store, wanted: Wanted, *, superseded: bool) -> list[tuple[Left, int]]:
    """Remove what is left over, also what other settings have left if told; what it was, and bytes.

    Raises:
        StoreError: a run works in the folder, or it cannot be written to.
    """
    with lock(store.folder), folder_errors(store.folder):
        found = [each for each in leftovers(store, wanted) if superseded or not each.useful]
        removed = []
        for each in found:
            removed.append((each, held([each.path])))
            if each.path.is_dir():
                shutil.rmtree(each.path)
            else:
                each.path.unlink()
    return removed


def held(paths: Iterable[Path]) -> int:
    """Bytes that are free once all of these are gone: a file with links elsewhere frees none."""
    links: dict[tuple[int, int], list[int]] = {}
    for path in paths:
        for file in [path, *path.rglob("*")]:
            about = file.lstat()
            if not file.is_dir() or file.is_symlink():
                links.setdefault((about.st_dev, about.st_ino), [about.st_size, about.st_nlink])
                links[about.st_dev, about.st_ino][1] -= 1
    return sum(size for size, elsewhere in links.values() if elsewhere <= 0)


def _needed(store: Store, wanted: Wanted, kept: dict[str, Record | None]) -> set[str]:
    """Names of folders that stages keep, go on from, or name."""
    found = set(_named(store.folder, wanted.settings))
    for name, key in wanted.steps:
        if record := kept[name]:
            found |= {record.folder.name, *_named(store.folder, record.model)}
        else:
            found |= {store.part(name, key).name, store.final(name, key).name}
    return found


def _named(folder: Path, value: Any) -> Iterator[str]:
    """Names of what lies in `folder`, of all texts that are paths to or below it."""
    if isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _named(folder, each)
    elif isinstance(value, str):
        # The first is how records name what lies beside them (`ModelRef.to_json`).
        path = folder / value[4:] if value.startswith("run:") else Path(value)
        with suppress(OSError, ValueError, RuntimeError):  # no path at all
            yield from path.expanduser().resolve().relative_to(folder).parts[:1]


def _judged(path: Path, kept: dict[str, Record | None], *, known: bool) -> Left | None:
    """Why nothing needs a folder that no stage named; None for what is no stage's."""
    match = STAGE.fullmatch(path.name)
    if match is None or not (match["state"] or (path / records.NAME).is_file()):
        return None  # it may be anybody's
    if match["state"].startswith(".damaged"):
        return Left(path, "put aside: one of its files was gone or had changed")
    if match["state"] and _is_done(path.with_name(match["whole"]), kept):
        return Left(path, "of a stage that is done")
    if not known:
        return None
    if match["state"]:
        return Left(path, "stopped before it was done", useful=True)
    return Left(path, _when(path), useful=True)


def _is_done(folder: Path, kept: dict[str, Record | None]) -> bool:
    """Whether the stage that would lie here is done, here or under the name it had before."""
    keys = {record.key[:8] for record in kept.values() if record}
    return _whole(folder) is not None or folder.name[-8:] in keys


def _whole(folder: Path) -> Record | None:
    try:
        found = records.read(folder)
    except records.DamagedRecordError:
        return None
    return found if found and not found.fault() else None


def _when(folder: Path) -> str:
    if found := _whole(folder):
        return f"finished {str(found.made.get('finished', ''))[:16].replace('T', ' ')}"
    return "not whole"


def _inside(folder: Path, gone: set[Path]) -> Iterator[Left]:
    """What killed processes left in folders that stay."""
    stay = [each for each in sorted(folder.iterdir()) if each.is_dir() and each not in gone]
    for place in [folder, *stay]:
        for torn in sorted(place.glob(TORN)):
            yield Left(torn, "of a process that was killed while it wrote")
        checkpoints = place / CHECKPOINTS
        if not place.name.endswith(".part") and checkpoints.is_dir() and _whole(place):
            yield Left(checkpoints, "of a stage that is done")
