"""Several ranks run one chain: rank 0 writes and speaks, one rank's failure stops them all."""

import copy
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chain_fakes import recipe
from tiny_chain import ends, settings, write
from together import Ranks

from finetune.chain import child, inside, mishap
from finetune.chain.plan import make
from finetune.commands import command
from finetune.errors import AGAIN, DataError
from finetune.ranks import rank

pytestmark = pytest.mark.heavy

HERE = Path(__file__).parent


@pytest.fixture(autouse=True, scope="module")
def run_before():
    """An earlier run of this process has left accelerate's state, as in the whole suite."""
    from accelerate import PartialState

    PartialState(cpu=True)


ALONE = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}


def launch(folder, **changes):
    """Run the program on two ranks; everything it started is over when this returns."""
    recipe(folder)  # the files; two ranks would write them at the same moment
    environment = {name: value for name, value in os.environ.items() if name not in ALONE}
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent / "src")])
    environment["OMP_NUM_THREADS"] = "1"
    profile = HERE.parent / "launch" / "cpu_2.yaml"
    module = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(profile)]
    command = [*module, str(HERE / "chain_ranks_program.py"), str(folder), json.dumps(changes)]
    started = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    out, err = started.communicate(timeout=180)
    with pytest.raises(ProcessLookupError):
        os.killpg(started.pid, 0)
    return subprocess.CompletedProcess(command, started.returncode, out, err)


def test_two_ranks_run_a_chain_together_and_keep_it(tmp_path):
    done = launch(tmp_path)
    assert done.returncode == 0, done.stderr
    plan = make(recipe(tmp_path))
    assert plan.done
    assert plan.steps[0].record.facts["total"] == 3
    assert plan.steps[0].record.made["ranks"] == 2
    assert done.stderr.count("sft: done in") == 1
    assert done.stdout.count("what it says of itself") == 1
    again = launch(tmp_path)
    assert again.returncode == 0, again.stderr
    assert "done in" not in again.stderr


FAILURES = {
    "row": "dpo stopped: rank {rank} cannot read its rows",
    "bug": "dpo stopped: ZeroDivisionError: shapes differ",
    "memory": "dpo stopped: out of memory (",
    "killed": "dpo stopped: its process was killed from outside (SIGKILL)",
    "rank killed": "stopped; run again to go on with 'dpo'",
}


def run_fakes(folder, **changes):
    """The program's work in a fork of this process; the exit code."""
    import chain_ranks_program

    chain_ranks_program.use()
    command._load = lambda parsed: recipe(folder, **changes)
    return ends("run", "fake.yaml")


@pytest.mark.parametrize(
    ("fail", "rank"),
    [("row", 0), ("row", 1), ("bug", 1), ("memory", 0), ("killed", 1), ("rank killed", 1)],
)
def test_the_failure_of_one_rank_stops_all_and_is_told_once(tmp_path, fail, rank, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    failing = {"fail": fail, "fail_rank": rank}
    recipe(tmp_path)
    ranks = Ranks(lambda: run_fakes(tmp_path, dpo=failing), tmp_path / "log", "cpu_2")
    begun = time.monotonic()
    codes = ranks.wait()
    assert time.monotonic() - begun < 30
    assert codes[rank] == {"killed": 137, "rank killed": -9}.get(fail, 1)
    assert all(codes)
    text = (tmp_path / "log").read_text()
    assert text.count(FAILURES[fail].format(rank=rank)) == 1, text
    assert text.count("dpo stopped") == (fail != "rank killed"), text
    statuses = [step.status for step in make(recipe(tmp_path, dpo=failing)).steps]
    assert statuses == ["keep", "resume", "run", "run"]


def test_a_failure_is_told_though_an_earlier_one_has_left_its_traceback(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    failing = {"fail": "row", "fail_rank": 1}
    plan = make(recipe(tmp_path, dpo=failing))
    (before,) = (step for step in plan.steps if step.stage.name == "dpo")
    trace = plan.store.begin("dpo", before.keyed.key) / "error.txt"
    trace.write_text("an earlier one")
    ranks = Ranks(lambda: run_fakes(tmp_path, dpo=failing), tmp_path / "log", "cpu_2")
    assert all(ranks.wait())
    text = (tmp_path / "log").read_text()
    assert text.count(FAILURES["row"].format(rank=1)) == 1, text
    assert "cannot read its rows" in trace.read_text()


def test_machines_with_other_libraries_are_refused_before_the_first_stage(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    recipe(tmp_path)

    def other():
        mine = {"torch": "2.13.0"} | ({"flash-attn": "2.8.3"} if rank() else {})
        monkeypatch.setattr(inside, "versions", lambda: mine)
        return run_fakes(tmp_path)

    assert all(Ranks(other, tmp_path / "log", "cpu_2").wait())
    told = "the processes do not have the same libraries (flash-attn 2.8.3, none)"
    assert (tmp_path / "log").read_text().count(told) == 1, (tmp_path / "log").read_text()
    assert not list((tmp_path / "run").glob("sft-*"))


def test_a_rank_that_lost_another_ends_as_what_went_wrong_does(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    lost = mishap.translate(RuntimeError("Connection closed by peer [10.0.0.2]"), tmp_path)
    assert lost.code == AGAIN
    alone = copy.copy(lost)
    assert child._write_first(tmp_path / "machine lost", "Traceback\n", alone)
    assert alone.code == AGAIN
    for number, cause in enumerate((DataError("a bad row"), mishap.killed(9))):
        trace = tmp_path / f"error-{number}.txt"
        assert child._write_first(trace, "Traceback\n", cause)
        echo = copy.copy(lost)
        assert not child._write_first(trace, "Traceback\n", echo)
        assert echo.code == cause.code == (1, 137)[number]


def test_the_launcher_stops_all_when_one_rank_runs_out_of_its_memory(tmp_path):
    done = launch(tmp_path, dpo={"fail": "memory", "fail_rank": 1})
    assert done.returncode != 0
    assert done.stderr.count("dpo stopped: out of memory (") == 1, done.stderr
    assert done.stderr.count("dpo stopped") == 1


def test_what_one_rank_alone_finds_before_the_run_is_told_once(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    recipe(tmp_path)
    failing = {"check_rank_1": True}
    ranks = Ranks(lambda: run_fakes(tmp_path, dpo=failing), tmp_path / "log", "cpu_2")
    assert all(ranks.wait())
    assert (tmp_path / "log").read_text().count("only rank 1 sees this") == 1
    assert not list((tmp_path / "run").glob("sft-*"))


def test_rows_that_ranks_cannot_share_are_refused_before_the_first_stage(
    random_mistral, tmp_path, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    plain = settings(tmp_path, random_mistral, kinds=("sft", "dpo"))
    plain["stages"][1]["dpo"]["batch_size"] = 5
    path = write(tmp_path, plain)
    assert Ranks(lambda: ends("run", path), tmp_path / "log", "cpu_2").wait() != [0, 0]
    text = (tmp_path / "log").read_text()
    told = "dpo: batch_size 5 does not divide over 2 processes\n  Nearest that do: 4 and 6."
    assert text.count(told) == 1, text
    assert not list(tmp_path.glob("run/sft-*"))
