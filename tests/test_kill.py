"""A real chain, killed: what is done stays done, and the end is that of a run left in peace."""

import os
import random
import re
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_chain import ends, settings, write
from together import assert_nothing_lives

from finetune.chain import record

pytestmark = pytest.mark.heavy

STEPS = 10
KILLS = int(os.environ.get("FINETUNE_KILLS", "3"))
PATIENCE = 120.0


@dataclass
class Run:
    """A run in a process group of its own."""

    pid: int
    log: Path

    def kill(self):
        """End it as a power cut does; the stages' processes must not outlive it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        assert_nothing_lives(self.pid)

    def interrupt(self):
        """Ctrl-C at a terminal: every process of the group gets the signal."""
        os.killpg(self.pid, signal.SIGINT)
        return self.wait()

    def wait(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def ended(self):
        """Whether it is over; it stays to be waited for."""
        status = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return status is not None


@pytest.fixture(autouse=True, scope="module")
def forked():
    """Stages and runs are forks of this process, in which torch is there already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield


@pytest.fixture(scope="module")
def calm(random_mistral, tmp_path_factory):
    """The folder of a chain that nobody disturbed."""
    folder = tmp_path_factory.mktemp("calm")
    path = write(folder, settings(folder, random_mistral, steps=STEPS))
    assert ends("run", path) == 0
    return folder


def stormy(calm, folder, keep=()):
    """The recipe's file for the same chain elsewhere, these of its stages done."""
    shutil.copytree(calm, folder, ignore=shutil.ignore_patterns("run"), dirs_exist_ok=True)
    for name in keep:
        for done in (calm / "run").glob(f"{name}-*"):
            shutil.copytree(done, folder / "run" / done.name)
    path = folder / "tiny.yaml"
    path.write_text(path.read_text().replace(str(calm), str(folder)))
    return str(path)


def start(path, log):
    """Begin a run."""
    pid = os.fork()
    if pid:
        return Run(pid, log)
    try:
        os.setsid()
        sys.stdout = sys.stderr = log.open("w", buffering=1, encoding="utf-8")
        for stream in (1, 2):
            os.dup2(sys.stderr.fileno(), stream)
        os._exit(ends("run", path))
    finally:
        os._exit(99)


def wait_for_checkpoint(run, folder, stage):
    """Wait for the first whole checkpoint of a stage, in a run that must not end before."""
    deadline = time.monotonic() + PATIENCE
    while not list(folder.glob(f"run/{stage}-*.part/checkpoints/checkpoint-*/whole")):
        assert time.monotonic() < deadline, run.log.read_text()
        assert not run.ended(), run.log.read_text()
        time.sleep(0.002)


def done(folder):
    """What the finished stages hold, by name: weights, scores and predictions."""
    found = {}
    for path in folder.glob("run/*-????????"):
        one = record.read(path)
        assert one is not None
        assert one.fault() == ""
        files = [name for name in one.files if name.endswith(".safetensors")]
        found[one.name] = (one.key, one.scores, {n: (path / n).read_bytes() for n in files})
    return found


def resumed_at(folder, stage):
    (path,) = folder.glob(f"run/{stage}-????????")
    return record.read(path).facts["resumed_at_step"]


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_killed_in_the_middle_of_training_it_resumes_to_the_very_same_adapter(
    stage, calm, tmp_path, capfd
):
    path = stormy(calm, tmp_path, keep=["sft"] if stage == "dpo" else [])
    run = start(path, tmp_path / "log")
    wait_for_checkpoint(run, tmp_path, stage)
    run.kill()
    assert not list(tmp_path.glob("run/*.part/adapter")), "training went on without its run"
    capfd.readouterr()
    assert ends("run", path) == 0
    err = capfd.readouterr().err
    told = re.search(rf"{stage} +resume: stopped at step (\d+) of {STEPS}\n", err)
    assert told, err
    assert resumed_at(tmp_path, stage) == int(told[1]) > 0
    assert done(tmp_path) == done(calm)
    assert not list(tmp_path.glob("run/*.part"))


def test_killed_at_random_moments_the_chain_ends_in_the_same_scores_and_weights(calm, tmp_path):
    wanted = done(calm)
    assert set(wanted) == {"sft", "dpo", "merge", "evaluate"}
    chance = random.Random(int(os.environ.get("FINETUNE_SEED", "1")))
    path, log = stormy(calm, tmp_path), tmp_path / "log"
    begun = time.monotonic()
    assert start(path, log).wait() == 0
    whole = time.monotonic() - begun
    killed = 0
    while killed < KILLS:
        if len(done(tmp_path)) == len(wanted):
            (tmp_path / "run").rename(tmp_path / f"finished-{killed}")
        run = start(path, log)
        time.sleep(chance.uniform(0.0, 0.7 * whole))
        killed += not run.ended()
        run.kill()
        found = done(tmp_path)
        assert found == {name: wanted[name] for name in found}, log.read_text()
    assert start(path, log).wait() == 0, log.read_text()
    assert done(tmp_path) == wanted
    assert not list(tmp_path.glob("run/*.part"))
    assert not list(tmp_path.glob("run/*.damaged-*"))


@pytest.mark.parametrize("signal_sent", ["group", "run alone"])
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(signal_sent, calm, tmp_path, capfd):
    path = stormy(calm, tmp_path)
    run = start(path, tmp_path / "log")
    wait_for_checkpoint(run, tmp_path, "sft")
    if signal_sent == "run alone":
        os.kill(run.pid, signal.SIGINT)
        code = run.wait()
    else:
        code = run.interrupt()
    text = run.log.read_text()
    assert code == 130, text
    assert_nothing_lives(run.pid)
    told = re.search(rf"run again to go on with 'sft' from step (\d+) of {STEPS}\n", text)
    assert told, text
    assert "Traceback (most recent call last)" not in text
    assert ends("run", path) == 0
    assert resumed_at(tmp_path, "sft") == int(told[1]) > 0
    assert done(tmp_path) == done(calm)


def test_another_beta_keeps_sft_and_runs_what_follows_it(calm, tmp_path, capfd):
    path = stormy(calm, tmp_path, keep=["sft", "dpo", "merge", "evaluate"])
    assert ends("run", path) == 0
    assert "kept" in capfd.readouterr().out
    assert ends("run", path, "dpo.train.beta=0.5") == 0
    err = capfd.readouterr().err
    plan = dict(re.findall(r"^  (\w+) +(\w+.*)$", err, re.MULTILINE))
    assert plan["sft"] == "keep"
    assert plan["dpo"] == "run: dpo.train.beta 0.1 -> 0.5"
    assert plan["merge"] == "run: dpo before it changed"
    assert plan["evaluate"].startswith("run: ")
    assert "dpo" in plan["evaluate"]
    old, new = sorted(tmp_path.glob("run/dpo-*"), key=lambda each: each.stat().st_mtime)
    name = "adapter/adapter_model.safetensors"  # the one before is not thrown away
    assert (old / name).read_bytes() == done(calm)["dpo"][2][name] != (new / name).read_bytes()
    assert ends("run", path) == 0
    assert "kept" in capfd.readouterr().out
