"""What the last run in a folder set out to do and how it ended: for those who read it later.

Records say what each stage is; only a run knows which stages belong together, which it kept, why
it ran the others, and what stopped it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from finetune import ranks
from finetune.chain.files import write_json
from finetune.chain.links import needed
from finetune.recipe.dump import as_yaml, plain

if TYPE_CHECKING:
    from finetune.chain.plan import Plan

NAME = "run.json"
Ending = Literal["running", "done", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One stage as the plan had it."""

    name: str
    kind: str
    key: str
    takes_from: list[str]
    status: str  # keep, resume, run
    reason: str


@dataclass(frozen=True, kw_only=True)
class Journal:
    """A run: its recipe (YAML, all defaults left out), its plan, its end."""

    name: str
    recipe: str
    seed: int
    steps: list[Entry]
    started: str
    ended: str = ""
    ending: Ending = "running"
    error: str = ""


def read(folder: Path) -> Journal | None:
    """The journal in `folder`; None when there is none that can be read."""
    try:
        found = json.loads((folder / NAME).read_text("utf-8"))
        return Journal(**{**found, "steps": [Entry(**each) for each in found["steps"]]})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def finished(folder: Path) -> dict[str, str]:
    """Name -> key of the stages that the last run had done at its end, or had found done."""
    found = read(folder)
    steps = found.steps if found else []
    done = found is not None and found.ending == "done"
    return {each.name: each.key for each in steps if done or each.status == "keep"}


@contextmanager
def kept(plan: Plan) -> Iterator[None]:
    """Write down what the plan is, and how what happens inside ends."""
    journal = _begin(plan)
    if not plan.done:
        _write(plan, journal)
    try:
        yield
    except BaseException as error:
        ending: Ending = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
        _write(plan, replace(journal, ended=_now(), ending=ending, error=str(error)))
        raise
    _write(plan, replace(journal, ended=journal.ended or _now(), ending="done"))


def _begin(plan: Plan) -> Journal:
    """The plan; of a chain that is done already, the journal of the run that did it."""
    recipe = plan.recipe
    steps = [
        Entry(
            name=step.stage.name,
            kind=step.stage.kind,
            key=step.keyed.key,
            takes_from=[each.name for each in needed(recipe, step.stage)],
            status=step.status,
            reason=step.reason,
        )
        for step in plan.steps
    ]
    text = as_yaml(plain(recipe))
    now = Journal(name=recipe.name, recipe=text, seed=recipe.seed, steps=steps, started=_now())
    last = read(plan.store.folder)
    if plan.done and last and _keys(last) == _keys(now):
        return replace(last, recipe=text, error="")
    return now


def _keys(journal: Journal) -> list[tuple[str, str]]:
    return [(each.name, each.key) for each in journal.steps]


def _write(plan: Plan, journal: Journal) -> None:
    """A journal that cannot be written is no reason to lose a run."""
    if ranks.is_main() and plan.store.folder.is_dir():
        with suppress(OSError):
            write_json(plan.store.folder / NAME, asdict(journal))


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
