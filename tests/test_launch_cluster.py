"""Jobs of clusters: what the schedulers' own schemas say of them, and one run through a queue."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import chain_fakes
import pytest
import yaml

from finetune import cli
from finetune.chain import record
from finetune.embedded import profile_folder
from finetune.launch import cluster

EXAMPLES = sorted((profile_folder() / "examples").iterdir())
HERE = Path(__file__).parent
PATIENCE = 180.0

# Long options of `sbatch` that a script of ours uses, from its manual page (Slurm 25.05).
SBATCH = {
    *("job-name", "nodes", "ntasks-per-node", "gpus-per-node", "output", "open-mode"),
    *("requeue", "signal", "cpus-per-task"),
}
# Properties of SkyPilot 0.14.1's own schemas (`sky.utils.schemas`: task, resources, storage).
SKY_TASK = {
    *("name", "workdir", "event_callback", "num_nodes", "resources", "file_mounts", "service"),
    *("pool", "setup", "run", "envs", "secrets", "inputs", "outputs", "config", "volumes"),
}
SKY_RESOURCES = {
    *("cloud", "region", "zone", "infra", "cpus", "memory", "instance_type", "use_spot"),
    *("job_recovery", "disk_size", "disk_tier", "image_id", "accelerators", "any_of", "ordered"),
}
SKY_RECOVERY = {"strategy", "max_restarts_on_errors", "recover_on_exit_codes"}
SKY_MODES = {"MOUNT", "COPY", "MOUNT_CACHED"}
NAMES = {"image": "registry/finetune:1", "install": "pip install ."}


def rendered(scheduler, *more, capsys, recipe="samsum"):
    words = ["--image", NAMES["image"]] if scheduler == "kubernetes" else []
    words += ["--install", NAMES["install"]] if scheduler == "sky" else []
    cli.main(["launch", recipe, "--on", scheduler, *words, *more])
    return capsys.readouterr().out


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_what_its_own_command_line_writes(file, capsys):
    text = file.read_text()
    line = next(each for each in text.splitlines() if each.startswith("# finetune launch "))
    cli.main(shlex.split(line.removeprefix("# finetune ")))
    assert capsys.readouterr().out == text


def test_there_is_an_example_for_every_scheduler():
    assert {path.stem for path in EXAMPLES} == {"slurm", "kubernetes", "sky"}


@pytest.mark.parametrize("size", [("1", "0"), ("1", "8"), ("4", "8")])
def test_a_slurm_script_has_directives_that_sbatch_knows_and_is_shell(size, tmp_path, capsys):
    more = ("name=x", "sft.batch_size=32", "dpo.batch_size=32")
    text = rendered("slurm", "--nodes", size[0], "--gpus", size[1], *more, capsys=capsys)
    (tmp_path / "job").write_text(text)
    subprocess.run(["bash", "-n", tmp_path / "job"], check=True)
    head, body = text.split("set -uo pipefail")
    assert "#SBATCH" not in body  # sbatch reads none behind the first command
    directives = re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", head, re.MULTILINE)
    assert {name for name, _ in directives} <= SBATCH
    told = dict(directives)
    assert told["nodes"] == size[0]
    assert told.get("gpus-per-node", "0") == size[1]
    assert "requeue" in told
    # One core is what a task gets that asks for none, and srun does not take over what sbatch has.
    assert int(told["cpus-per-task"]) >= max(4, 4 * int(size[1]))
    assert "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK" in body


@pytest.mark.parametrize("size", [("1", "1"), ("1", "8"), ("2", "8")])
def test_kubernetes_objects_are_what_kubeflows_own_models_take(size, capsys):
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="needs kubeflow-trainer-api")
    text = rendered("kubernetes", "--nodes", size[0], "--gpus", size[1], capsys=capsys)
    runtime, job = yaml.safe_load_all(text)
    kinds = {
        "TrainingRuntime": models.TrainerV1alpha1TrainingRuntime,
        "TrainJob": models.TrainerV1alpha1TrainJob,
    }
    for each in (runtime, job):
        read = kinds[each["kind"]].from_dict(each).to_dict()
        assert read == each  # a field that the model does not know would be missing
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    assert job["spec"]["trainer"]["numNodes"] == int(size[0])
    jobs = runtime["spec"]["template"]["spec"]
    assert jobs["failurePolicy"]["maxRestarts"] == cluster.RESTARTS
    pods = jobs["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    mounted = {each["name"] for each in pods["containers"][0]["volumeMounts"]}
    assert mounted == {each["name"] for each in pods["volumes"]}


@pytest.mark.parametrize("size", [("1", "1"), ("1", "8"), ("2", "8")])
def test_a_sky_task_has_the_keys_of_skypilots_schema(size, tmp_path, capsys):
    text = rendered("sky", "--nodes", size[0], "--gpus", size[1], "--gpu", "A100", capsys=capsys)
    task = yaml.safe_load(text)
    assert set(task) <= SKY_TASK
    assert set(task["resources"]) <= SKY_RESOURCES
    assert set(task["resources"]["job_recovery"]) <= SKY_RECOVERY
    assert task["resources"]["accelerators"] == f"A100:{size[1]}"
    mounts = task.get("file_mounts", {})
    assert all(each["mode"] in SKY_MODES for each in mounts.values())
    # Machines that work together need to see each other's files at once: no bucket then.
    assert bool(mounts) == (size[0] == "1") == ("volumes" not in task)
    # Volumes of several machines are on Kubernetes, where SkyPilot has no spot machines.
    assert ("use_spot" in task["resources"]) == (size[0] == "1")
    for script in (task["setup"], task["run"]):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    try:
        from sky import Task
    except ImportError:
        return
    (tmp_path / "task.yaml").write_text(text)
    assert Task.from_yaml(str(tmp_path / "task.yaml")).num_nodes == int(size[0])


@pytest.mark.parametrize(
    ("nodes", "gpus", "profile"),
    [(1, 0, "cpu"), (1, 1, "gpu"), (1, 8, "multi_gpu"), (2, 8, "multi_node"), (2, 1, "multi_node")],
)
def test_the_machines_choose_the_profile(nodes, gpus, profile):
    assert cluster.profile_for(None, nodes, gpus).name == profile


REFUSED = {
    ("--on", "slurm", "--profile", "zero3", "--gpus", "8"): "ZeRO-3 does not share weights in 4",
    ("--on", "slurm", "--profile", "gpu", "--gpus", "8"): "is one process",
    ("--on", "slurm", "--profile", "multi_gpu", "--gpus", "0"): "needs GPUs",
    ("--on", "slurm", "--nodes", "0"): "no job on 0 machines",
    ("--on", "slurm", "--profile", "multi_node", "--gpus", "8"): "is for several machines",
    ("--on", "slurm", "--nodes", "3", "--gpus", "8"): "16 does not divide over 24 processes",
    ("--on", "kubernetes"): "needs an image",
    ("--on", "sky"): "how do they get finetune",
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_job_that_could_not_run_is_refused(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["launch", "samsum", *words])
    assert end.value.code == 1
    assert REFUSED[words] in capsys.readouterr().err


def test_names_are_made_fit_for_a_cluster():
    assert cluster.job_name("My Run_2 (β)") == "my-run-2"
    assert cluster.job_name("***") == "finetune"
    assert len(cluster.job_name("x" * 200)) == 50


SRUN = """\
import os, subprocess, sys
command = [each for each in sys.argv[1:] if not each.startswith("--kill")]
tasks = [
    subprocess.Popen(command, env={**os.environ, "SLURM_NODEID": str(node)})
    for node in range(int(os.environ["SLURM_NNODES"]))
]
open("tasks", "w").write(" ".join(str(each.pid) for each in tasks))
codes = [each.wait() for each in tasks]
sys.exit(max(128 - code if code < 0 else code for code in codes))
"""
SCONTROL = """\
import sys
if sys.argv[1] == "requeue":
    open("requeued", "a").write(sys.argv[2])
else:
    print("127.0.0.1")
"""
FINETUNE = "from finetune.cli import main; main()"
# Python reads this wherever it starts below: stages that take a moment; all else is as installed.
FAKES = """\
import pathlib, chain_fakes, chain_ranks_program
from finetune.commands import command
chain_ranks_program.use()
command._load = lambda parsed: chain_fakes.recipe(pathlib.Path.cwd(), sft={"pause": 0.3})
"""


class Queue:
    """Slurm as far as a script sees it; both of its machines are this one."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "bin").mkdir()
        for name, program in {"srun": SRUN, "scontrol": SCONTROL, "finetune": FINETUNE}.items():
            (folder / "bin" / name).write_text(f"#!{sys.executable}\n{program}")
            (folder / "bin" / name).chmod(0o755)
        (folder / "sitecustomize.py").write_text(FAKES)

    def start(self, script, restarts):
        environment = os.environ | {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(map(str, (self.folder, HERE, HERE.parent / "src"))),
            "CUDA_VISIBLE_DEVICES": "",
            "SLURM_NNODES": "2",
            "SLURM_JOB_NODELIST": "here",
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_RESTART_COUNT": str(restarts),
        }
        command = ["bash", script]
        with (self.folder / f"log-{restarts}").open("w") as log:
            self.job = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, cwd=self.folder
            )
        return self.job

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.job.poll() is None:
            self.time_is_up()
            self.job.wait(PATIENCE)

    def time_is_up(self):
        """What `--signal=TERM@120` does."""
        for pid in (self.folder / "tasks").read_text().split():
            os.kill(int(pid), signal.SIGTERM)


@pytest.mark.parametrize(
    ("code", "restarts", "comes_back"),
    [(0, 0, False), (1, 0, False), (127, 0, False), (75, 0, True), (137, 2, True), (143, 3, False)],
)
def test_a_slurm_job_comes_back_after_what_may_be_gone_next_time(
    code, restarts, comes_back, tmp_path, capsys
):
    (tmp_path / "job").write_text(rendered("slurm", "--nodes", "2", capsys=capsys))
    with Queue(tmp_path) as queue:
        (tmp_path / "bin" / "srun").write_text(f"#!/bin/bash\nexit {code}\n")
        assert queue.start(tmp_path / "job", restarts).wait(PATIENCE) == code
        (tmp_path / "tasks").touch()
    assert (tmp_path / "requeued").exists() == comes_back


@pytest.mark.heavy
def test_a_slurm_job_on_two_machines_is_requeued_when_time_is_up_and_goes_on(tmp_path, capsys):
    chain_fakes.recipe(tmp_path)  # the files; both machines would write them at the same moment
    script = tmp_path / "job"
    script.write_text(rendered("slurm", "--nodes", "2", "--profile", "cpu_2", capsys=capsys))
    with Queue(tmp_path) as queue:
        job = queue.start(script, restarts=0)
        deadline = time.monotonic() + PATIENCE
        while not list(tmp_path.glob("run/sft-*.part/checkpoints/checkpoint-*/whole")):
            assert time.monotonic() < deadline, (tmp_path / "log-0").read_text()
            assert job.poll() is None, (tmp_path / "log-0").read_text()
            time.sleep(0.02)
        queue.time_is_up()
        assert job.wait(PATIENCE) == 128 + signal.SIGTERM, (tmp_path / "log-0").read_text()
        assert (tmp_path / "requeued").read_text() == str(os.getpid())
        again = queue.start(script, restarts=1)
        assert again.wait(PATIENCE) == 0, (tmp_path / "log-1").read_text()
    text = (tmp_path / "log-1").read_text()
    assert text.count("resume: stopped at step") == 1, text
    assert text.count("merge: done in") == 1, text
    (folder,) = tmp_path.glob("run/sft-????????")
    assert record.read(folder).made["ranks"] == 2
