"""Killed at any moment, a run goes on later and ends as if nothing had happened."""

import os
import random
import signal
import time
from pathlib import Path

import chain_fakes
import pytest
from chain_fakes import recipe

from finetune.chain import record
from finetune.chain.plan import make
from finetune.chain.run import run

KILLS = 30
SETTINGS = {"sft": {"pause": 0.004, "steps": 8}, "dpo": {"pause": 0.004, "steps": 8}}


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    chain_fakes.use(monkeypatch)


def values(folder, **changes):
    outcome = run(recipe(folder, **SETTINGS, **changes))
    return {name: (each.facts, each.scores) for name, each in outcome.records.items()}


def in_another_process(given):
    """Start the run in a process that can be killed; much cheaper than a new interpreter."""
    pid = os.fork()
    if pid:
        return pid
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        run(given)
    finally:
        os._exit(0)


def children(pid):
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(each) for each in listed.split()]


def stage_of(pid):
    """The process of the stage that runs now, waited for between two stages."""
    deadline = time.monotonic() + 0.1
    while not (found := children(pid)) and time.monotonic() < deadline:
        time.sleep(0.001)
    return next(iter(found), None)


def assert_whole(folder):
    """Whatever stands under a final name is complete; a torn record would raise."""
    for path in folder.glob("run/*-????????"):
        found = record.read(path)
        assert found is not None
        assert found.fault() == ""


@pytest.mark.parametrize("victim", ["run", "stage"])
def test_killed_at_random_moments_a_chain_ends_in_the_same_results(tmp_path, victim):
    wanted = values(tmp_path / "calm")
    folder, chance = tmp_path / "stormy", random.Random(victim)
    killed = rounds = 0
    while killed < KILLS:
        rounds += 1
        # A fresh chain each time one is through, so that every moment is hit again and again.
        given = recipe(folder, **SETTINGS, output_dir=str(folder / "run"), seed=42)
        pid = in_another_process(given)
        time.sleep(chance.uniform(0.0, 0.12))
        target = pid if victim == "run" else stage_of(pid)
        if target:
            try:
                os.kill(target, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
        os.waitpid(pid, 0)
        assert_whole(folder)
        if make(given).done:
            assert values(folder) == wanted
            (folder / "run").rename(folder / f"finished-{rounds}")
    assert values(folder) == wanted
    assert not list((folder / "run").glob("*.part"))


def test_a_run_interrupted_between_record_and_renaming_goes_on(tmp_path, monkeypatch):
    wanted = values(tmp_path / "calm")
    rename = Path.rename

    def die(path, target):
        if path.name.startswith("dpo-"):
            raise SystemExit
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", die)
    with pytest.raises(SystemExit):
        values(tmp_path / "stormy")
    monkeypatch.undo()
    chain_fakes.use(monkeypatch)
    assert values(tmp_path / "stormy") == wanted
