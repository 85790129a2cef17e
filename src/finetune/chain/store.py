"""A run's folder: each stage in its own, moved into place in one step when it is done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from finetune.chain import record as records
from finetune.chain.files import flush_folder
from finetune.chain.mishap import folder_errors
from finetune.chain.record import DamagedRecordError, Record
from finetune.job import is_whole
from finetune.recipe.types import Evaluate

TRAINER_STATE = "trainer_state.json"  # what the trainers leave in a checkpoint


@dataclass(frozen=True)
class Found:
    """What the store has for a key: a record to trust, or the reason why there is none."""

    record: Record | None = None
    fault: str = ""


@dataclass(frozen=True)
class Store:
    """The folder of one run; absolute, so that stages may change the current folder."""

    folder: Path

    @property
    def fingerprints(self) -> Path:
        """File of the hashes of what stages read."""
        return self.folder / ".fingerprints.json"

    def final(self, name: str, key: str) -> Path:
        """Where a finished stage lies."""
        return self.folder / f"{name}-{key[:8]}"

    def part(self, name: str, key: str) -> Path:
        """Where a stage works until it is done; kept over interruptions for its checkpoints."""
        return self.folder / f"{name}-{key[:8]}.part"

    def find(self, name: str, key: str) -> Found:
        """The finished stage with this key, also under the name it had before a renaming."""
        found = self._look(self.final(name, key), key)
        if found.record or found.fault:
            return found
        same = (each for each in self._all() if each.key == key and not each.fault())
        return Found(next(same, None))

    def newest(self, name: str) -> Record | None:
        """The latest record of a stage of this name, whatever its key."""
        named = [each for each in self._all() if each.name == name]
        return max(named, key=lambda each: str(each.made.get("finished", "")), default=None)

    def evaluations(self) -> dict[str, Record]:
        """The latest finished evaluation of each name."""
        names = dict.fromkeys(each.name for each in self._all() if each.kind == Evaluate.kind)
        return {name: found for name in names if (found := self.newest(name))}

    def begin(self, name: str, key: str) -> Path:
        """Make ready the folder that a stage works in; what is in it from before stays."""
        part = self.part(name, key)
        with folder_errors(self.folder):
            part.mkdir(parents=True, exist_ok=True)
            (part / "error.txt").unlink(missing_ok=True)
        return part

    def finish(self, record: Record, part: Path) -> Path | None:
        """Write the record and move the folder into place.

        Checkpoints go last: until the folder is in place, a killed run goes on from them.
        Returns where a damaged folder of the same key was put, if there was one.
        """
        final = self.final(record.name, record.key)
        with folder_errors(self.folder):
            _share(part)
            record.write(part)
            aside = _put_aside(final)
            part.rename(final)
            flush_folder(self.folder)
        shutil.rmtree(final / records.CHECKPOINTS, ignore_errors=True)
        return aside

    def progress(self, name: str, key: str) -> tuple[int, int] | None:
        """Step of the last whole checkpoint and number of steps of an interrupted stage."""
        kept = filter(is_whole, self.part(name, key).glob(f"{records.CHECKPOINTS}/checkpoint-*"))
        steps = [state for path in kept if (state := _steps(path / TRAINER_STATE))]
        return max(steps, default=None)

    def _look(self, folder: Path, key: str) -> Found:
        try:
            record = records.read(folder)
        except DamagedRecordError as error:
            return Found(fault=str(error))
        if record is None:
            return Found(fault="its record is missing" if folder.exists() else "")
        if record.key != key:
            return Found(fault="its record belongs to other settings")
        fault = record.fault()
        return Found(fault=fault) if fault else Found(record)

    def _all(self) -> Iterator[Record]:
        for path in sorted(self.folder.glob(f"*/{records.NAME}")):
            if path.parent.suffix == ".part":
                continue
            try:
                record = records.read(path.parent)
            except DamagedRecordError:
                continue
            if record:
                yield record


def _put_aside(folder: Path) -> Path | None:
    if not folder.exists():
        return None
    number = 1
    while (aside := folder.with_name(f"{folder.name}.damaged-{number}")).exists():
        number += 1
    folder.rename(aside)
    return aside


def _share(folder: Path) -> None:
    """Give weights the permissions of other files; safetensors writes them for the owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o666 & ~mask)


def _steps(path: Path) -> tuple[int, int] | None:
    try:
        state = json.loads(path.read_text("utf-8"))
        return int(state["global_step"]), int(state["max_steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
