"""A run folder as one value: the stages of its last run, with what each of them left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from finetune.chain import journal
from finetune.chain import record as records
from finetune.chain.journal import Entry, Journal
from finetune.chain.record import Record
from finetune.chain.store import Found, Store
from finetune.errors import FinetuneError
from finetune.report.lines import Reader

NAME = "report.html"

State = Literal[
    "ran", "resumed", "kept", "done", "damaged", "failed", "stopped", "running", "not reached"
]
DID: dict[str, State] = {"keep": "kept", "resume": "resumed", "run": "ran"}


@dataclass(frozen=True)
class Step:
    """One stage of the chain; without a record it did not come to its end."""

    entry: Entry
    state: State
    record: Record | None

    @property
    def name(self) -> str:
        """The stage's own name."""
        return self.entry.name


@dataclass(frozen=True)
class Run:
    """What a report tells."""

    folder: Path
    journal: Journal
    steps: list[Step]
    reader: Reader

    @property
    def records(self) -> list[Record]:
        """Of the stages that are done, in order."""
        return [step.record for step in self.steps if step.record]


def gather(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        FinetuneError: nothing in it was left by a run.
    """
    folder = folder.resolve()
    store = Store(folder)
    reader = Reader(folder)
    found = journal.read(folder) or _without_journal(folder, reader)
    steps: list[Step] = []
    for entry in found.steps:
        lies = store.find(entry.name, entry.key)
        reached = not steps or steps[-1].record is not None
        state = _state(entry, lies, reached, found, store)
        if state == "damaged":
            entry = replace(entry, reason=lies.fault)  # noqa: PLW2901
        steps.append(Step(entry, state, lies.record))
    return Run(folder, found, steps, reader)


def _state(entry: Entry, lies: Found, reached: bool, found: Journal, store: Store) -> State:
    if lies.record:
        return DID.get(entry.status, "done")
    if lies.fault:
        return "damaged"
    if not (reached and store.part(entry.name, entry.key).is_dir()):
        return "not reached"
    return "failed" if found.ending == "done" else found.ending


def _without_journal(folder: Path, reader: Reader) -> Journal:
    """The newest record of each stage, in the order they were finished."""
    newest: dict[str, Record] = {}
    for file in sorted(folder.glob(f"*/{records.NAME}")):
        try:
            record = records.read(file.parent)
        except records.DamagedRecordError as error:
            reader.faults.append(f"{file.parent.name} is left out: {error}")
            continue
        if record and file.parent.suffix != ".part":
            same = newest.get(record.name)
            newest[record.name] = max(filter(None, (same, record)), key=_finished)
    if not newest:
        raise FinetuneError(
            "holds no finished stage of a run",
            where=str(folder),
            remedy="Give the run folder (output_dir of the recipe), or the recipe.",
        )
    ordered = sorted(newest.values(), key=_finished)
    steps = [
        Entry(name=each.name, kind=each.kind, key=each.key, takes_from=[], status="", reason="")
        for each in ordered
    ]
    seed = int(ordered[0].ingredients.get("seed", 0))
    started = str(ordered[0].made.get("started", ""))
    return Journal(
        name=folder.name, recipe="", seed=seed, steps=steps, started=started, ending="done"
    )


def _finished(record: Record) -> str:
    return str(record.made.get("finished", ""))
