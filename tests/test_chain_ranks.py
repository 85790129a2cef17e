"""Several ranks run one chain: rank 0 writes and speaks, one rank's failure stops them all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from chain_fakes import recipe

from finetune.chain.plan import make

pytestmark = pytest.mark.heavy

HERE = Path(__file__).parent
ALONE = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}


def launch(folder, **changes):
    recipe(folder)  # the files; two ranks would write them at the same moment
    environment = {name: value for name, value in os.environ.items() if name not in ALONE}
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent / "src")])
    environment["OMP_NUM_THREADS"] = "1"
    options = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    module = [sys.executable, "-m", "accelerate.commands.launch", *options]
    command = [*module, str(HERE / "chain_ranks_program.py"), str(folder), json.dumps(changes)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=180, check=False
    )


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


@pytest.mark.parametrize("rank", [0, 1])
def test_the_failure_of_one_rank_stops_all_and_is_told_once(tmp_path, rank):
    done = launch(tmp_path, dpo={"fail_rank": rank})
    assert done.returncode != 0
    assert done.stderr.count(f"dpo stopped: rank {rank} cannot read its rows") == 1
    assert done.stderr.count("dpo stopped") == 1
    statuses = [step.status for step in make(recipe(tmp_path, dpo={"fail_rank": rank})).steps]
    assert statuses == ["keep", "resume", "run", "run"]


def test_what_one_rank_alone_finds_before_the_run_is_told_once(tmp_path):
    done = launch(tmp_path, dpo={"check_rank_1": True})
    assert done.returncode != 0
    assert done.stderr.count("only rank 1 sees this") == 1
    assert not list((tmp_path / "run").glob("sft-*"))
