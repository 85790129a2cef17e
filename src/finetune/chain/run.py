"""Run a recipe: keep what is done, check all that is to run, then run it stage by stage."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from finetune import console, ranks
from finetune.chain import child, ending, inside, journal, provenance, room
from finetune.chain import record as records
from finetune.chain.files import shown
from finetune.chain.fingerprint import Fingerprints
from finetune.chain.inputs import together
from finetune.chain.lock import lock
from finetune.chain.plan import Plan, Step, make, store_of
from finetune.chain.record import Record
from finetune.chain.stops import TerminatedRun
from finetune.recipe.types import Evaluate, Recipe
from finetune.scoring import gates
from finetune.scoring.files import comparison


@dataclass(frozen=True)
class Outcome:
    """A plan with the records of its finished stages."""

    plan: Plan
    ran: tuple[str, ...] = ()
    records: dict[str, Record] = field(default_factory=dict)


def run(recipe: Recipe) -> Outcome:
    """Bring every stage of the recipe to its end.

    Raises:
        FinetuneError: why not, and how to go on.
        InterruptedRun: stopped from outside.
    """
    prints = Fingerprints(store_of(recipe).fingerprints)
    plan = make(recipe, prints)
    if plan.done:
        with journal.kept(plan):
            return _judged(outcome(plan), len(plan.steps))
    if ranks.world_size() > 1:
        child.die_with(os.getppid(), signal.SIGTERM)  # a killed launcher leaves no rank behind
    with _terminable(), lock(plan.store.folder) if ranks.is_main() else nullcontext():
        if ranks.is_main():
            plan = make(recipe, prints)  # the run that held the lock before may have done it all
        console.say(str(plan))
        _prepare(plan)
        ran: list[str] = []
        with journal.kept(plan):
            for index in _open(plan):
                _judged(outcome(plan), index)
                ran.append(_run_step(plan, index))
            return _judged(outcome(plan, tuple(ran)), len(plan.steps))


def outcome(plan: Plan, ran: tuple[str, ...] = ()) -> Outcome:
    """What a plan's stages have left so far."""
    records: dict[str, Record] = {}
    for step in plan.steps:
        found = step.record or plan.store.find(step.stage.name, step.keyed.key).record
        if found:
            records[step.stage.name] = found
    return Outcome(plan, ran, records)


def _judged(found: Outcome, before: int) -> Outcome:
    """The outcome, if every evaluation before the step of this index has what it requires."""
    for step in found.plan.steps[:before]:
        record = found.records.get(step.stage.name)
        if not ranks.is_main() or not isinstance(step.stage, Evaluate) or record is None:
            continue
        if failed := gates.failures(step.stage, comparison(record.folder)):
            raise ending.required(found.plan, step, failed)
    return found


def _open(plan: Plan) -> list[int]:
    return [index for index, step in enumerate(plan.steps) if step.status != "keep"]


def _prepare(plan: Plan) -> None:
    """Find all that can be known to fail before the first stage starts."""
    steps = [plan.steps[index] for index in _open(plan)]
    if not steps:
        return
    folder = plan.store.folder
    if ranks.is_main():
        (folder / "error.txt").unlink(missing_ok=True)
        room.check_disk(folder, plan.recipe.base, [step.stage for step in steps])
    console.say("checking every stage before the first one starts")
    if child.method() == "fork":
        inside.import_stages([step.stage.kind for step in steps])
    try:
        reply = child.call(inside.check_all, plan, folder=folder, trace=folder / "error.txt")
    except KeyboardInterrupt as stop:
        raise ending.stopped(stop, "stopped before the first stage") from None
    if reply.error:
        trace = "" if reply.known else f"Traceback: {shown(folder / 'error.txt')}"
        raise ending.extended(reply.error, trace)
    if reply.value:
        raise together(reply.value, "found before the first stage; nothing was run")


def _run_step(plan: Plan, index: int) -> str:
    step = plan.steps[index]
    name, key = step.stage.name, step.keyed.key
    console.say(f"{name}: {step.reason or step.status}")
    part = plan.store.begin(name, key) if ranks.is_main() else plan.store.part(name, key)
    started, clock = datetime.now().astimezone(), time.monotonic()
    try:
        reply = child.call(
            inside.perform, plan, index, folder=plan.store.folder, trace=part / "error.txt"
        )
    except KeyboardInterrupt as stop:
        raise ending.stopped(stop, ending.how_to_go_on(plan, step)) from None
    if reply.error:
        raise ending.failed(plan, index, reply)
    if ranks.is_main():
        seconds = time.monotonic() - clock
        times = {
            "started": started.isoformat(timespec="seconds"),
            "finished": datetime.now().astimezone().isoformat(),
            "seconds": round(seconds, 1),
            "ranks": ranks.world_size(),
        }
        _finish(plan, step, part, reply.value, times)
        console.say(f"{name}: done in {seconds:.1f} s")
    return name


def _finish(plan: Plan, step: Step, part: Path, done: inside.Done, times: dict[str, Any]) -> None:
    result, store, name = done.result, plan.store, step.stage.name
    model = result.model.to_json(store.folder) if result.model else None
    files = records.list_files(part)
    record = Record(
        key=step.keyed.key,
        ingredients=step.keyed.ingredients,
        kind=step.stage.kind,
        name=name,
        model=_settled(model, part.name, store.final(name, step.keyed.key).name),
        facts=result.facts,
        scores=result.scores,
        warnings=list(result.warnings),
        made={**times, **done.made, **provenance.machine()},
        files=files,
        sha256=records.hash_files(part, files),
        folder=part,
    )
    if aside := store.finish(record, part):
        console.warn(f"what lay in the place of {name!r} is in {shown(aside)} now")


def _settled(value: Any, part: str, final: str) -> Any:
    """Paths into the working folder as they are once it has its final name."""
    if isinstance(value, dict):
        return {key: _settled(each, part, final) for key, each in value.items()}
    if isinstance(value, list):
        return [_settled(each, part, final) for each in value]
    if isinstance(value, str) and (value == f"run:{part}" or value.startswith(f"run:{part}/")):
        return f"run:{final}{value.removeprefix(f'run:{part}')}"
    return value


@contextmanager
def _terminable() -> Iterator[None]:
    """Have SIGTERM stop the run as softly as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: Any) -> None:
    raise TerminatedRun("stopped")
