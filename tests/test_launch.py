"""Launch profiles: found by name, read by the libraries, told which machine this is."""

import os
import signal
import time

import pytest
import yaml

from finetune import cli
from finetune.embedded import profile_folder
from finetune.errors import FinetuneError
from finetune.launch import profiles, refused, sharing, start, versions

SLURM = {"SLURM_NNODES": "2", "SLURM_NODEID": "1", "MASTER_ADDR": "node-a"}
KUBEFLOW = {
    "PET_NNODES": "4",
    "PET_NODE_RANK": "3",
    "PET_MASTER_ADDR": "job-node-0-0.job",
    "PET_MASTER_PORT": "29500",
}
SKYPILOT = {
    "SKYPILOT_NUM_NODES": "2",
    "SKYPILOT_NODE_RANK": "0",
    "SKYPILOT_NODE_IPS": "10.0.0.4\n10.0.0.7",
}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in [*SLURM, *KUBEFLOW, *SKYPILOT, "NNODES", "NODE_RANK", "MASTER_PORT"]:
        monkeypatch.delenv(name, raising=False)


def test_every_profile_that_was_promised_is_there():
    wanted = {"cpu", "cpu_2", "gpu", "multi_gpu", "zero1", "zero2", "zero3", "zero3_offload"}
    assert set(profiles.names()) == wanted | {"fsdp2_qlora", "multi_node"}


@pytest.mark.parametrize("name", [n for n in profiles.names() if n.startswith("zero")])
def test_the_deepspeed_file_lies_beside_its_profile_where_accelerate_looks_for_it(name):
    profile = profiles.find(name)
    assert profile.zero_stage == int(name[4])
    named = profile.settings["deepspeed_config"]["deepspeed_config_file"]
    assert named == f"launch/{profile.deepspeed_file.name}"
    assert profile.deepspeed_file.parent == profile_folder()


def test_an_unknown_profile_names_the_nearest(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "samsum", "--launch", "zero_2"])
    assert end.value.code == 1
    assert "no launch profile 'zero_2'\n  Did you mean 'zero2'?" in capsys.readouterr().err


def test_a_file_that_is_no_profile_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("num_processes: 2\n")
    with pytest.raises(FinetuneError, match="no distributed_type"):
        profiles.find(str(path))


def test_a_profile_of_ones_own_is_taken(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"distributed_type": "MULTI_GPU", "num_processes": 3}))
    assert start.arguments(profiles.find(str(path)), None, 0) == ["--config_file", str(path)]


def told(name, processes=None, gpus=0):
    """What accelerate is told beside the files, by option."""
    words = start.arguments(profiles.find(name), processes, gpus)
    words = [*words, *(["true"] if words[-1] == "--same_network" else [])]
    options = dict(zip(words[::2], words[1::2], strict=True))
    return {key: value for key, value in options.items() if not key.endswith("config_file")}


def test_there_are_as_many_processes_as_gpus_unless_said_otherwise():
    assert told("multi_gpu") == {}
    assert told("multi_gpu", gpus=8) == {"--num_processes": "8"}
    assert told("zero3", processes=4, gpus=8) == {"--num_processes": "4"}
    assert told("gpu", gpus=8) == {}


@pytest.mark.parametrize(("name", "processes"), [("gpu", 2), ("cpu", 4), ("multi_gpu", 0)])
def test_a_number_of_processes_that_would_be_ignored_is_refused(name, processes):
    with pytest.raises(FinetuneError, match=f"does not start {processes} processes"):
        start.arguments(profiles.find(name), processes, 8)


def test_processes_without_a_profile_are_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "samsum", "--num-processes", "2"])
    assert "says nothing without --launch" in capsys.readouterr().err


def test_a_plan_under_a_profile_that_does_not_work_is_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "samsum", "--plan", "--launch", "zero3"])
    assert "ZeRO-3 does not share weights" in capsys.readouterr().err


def test_several_machines_that_nobody_names_are_not_waited_for():
    with pytest.raises(FinetuneError, match="nothing tells how many there are"):
        start.arguments(profiles.find("multi_node"), None, 8)


def test_a_profile_finds_deepspeeds_file_beside_it_or_where_it_says(tmp_path, monkeypatch):
    def mine(where):
        deepspeed = {"deepspeed_config_file": where}
        path = tmp_path / "mine.yaml"
        path.write_text(
            yaml.safe_dump({"distributed_type": "DEEPSPEED", "deepspeed_config": deepspeed})
        )
        return path

    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(FinetuneError, match=r"no .*elsewhere/zero\.json"):
        profiles.find(str(mine("elsewhere/zero.json")))
    text = '{"zero_optimization": {"stage": 2}}'
    (tmp_path / "elsewhere" / "zero.json").write_text(text)
    found = profiles.find(str(mine("elsewhere/zero.json")))
    assert found.deepspeed_file == tmp_path / "elsewhere" / "zero.json"
    assert found.zero_stage == 2
    (tmp_path / "zero.json").write_text(text)
    assert profiles.find(str(mine("anywhere/zero.json"))).deepspeed_file == tmp_path / "zero.json"


@pytest.mark.parametrize(
    ("environment", "machines", "rank", "address", "port"),
    [
        (SLURM, "2", "1", "node-a", "29400"),
        (KUBEFLOW, "4", "3", "job-node-0-0.job", "29500"),
        (SKYPILOT, "2", "0", "10.0.0.4", "29400"),
    ],
)
@pytest.mark.parametrize("name", ["multi_node", "zero3"])
def test_the_environment_says_which_machine_this_is(
    name, environment, machines, rank, address, port, monkeypatch
):
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert told(name, gpus=8) == {
        "--num_processes": str(8 * int(machines)),
        "--num_machines": machines,
        "--machine_rank": rank,
        "--main_process_ip": address,
        "--main_process_port": port,
        "--same_network": "true",
    }


def test_every_machine_has_a_process_where_there_are_more_machines_than_a_profile_starts(
    monkeypatch,
):
    for key, value in (SLURM | {"SLURM_NNODES": "4"}).items():
        monkeypatch.setenv(key, value)
    assert told("cpu_2")["--num_processes"] == "4"
    monkeypatch.setenv("SLURM_NNODES", "2")
    assert told("cpu_2")["--num_processes"] == "2"


def test_an_optimizer_that_cannot_be_compiled_is_told_before_anything_starts(monkeypatch):
    monkeypatch.setattr(start, "_installed", lambda library: True)
    monkeypatch.setattr(versions.shutil, "which", lambda name: None)
    with pytest.raises(FinetuneError, match=r"there is no g\+\+(?s:.*)--launch zero3\.$"):
        start._require(profiles.find("zero3_offload"))
    start._require(profiles.find("zero3"))


def test_pythons_own_headers_are_what_a_compiler_needs_too(tmp_path, monkeypatch):
    monkeypatch.setattr(versions.shutil, "which", lambda name: name)
    monkeypatch.setattr(versions.sysconfig, "get_path", lambda name: str(tmp_path))
    (lacking,) = refused.without_compiler(sharing.of(profiles.find("zero3_offload")))
    assert "there is no python3-dev" in lacking.what
    (tmp_path / "Python.h").touch()
    assert not list(refused.without_compiler(sharing.of(profiles.find("zero3_offload"))))


def test_machines_that_do_not_know_the_first_one_are_told_what_to_set(monkeypatch):
    monkeypatch.setenv("SLURM_NNODES", "2")
    monkeypatch.setenv("SLURM_NODEID", "0")
    with pytest.raises(FinetuneError, match=r"(?s)2 machines.*address: one of .*MASTER_ADDR"):
        start.arguments(profiles.find("multi_node"), None, 8)


@pytest.mark.heavy
@pytest.mark.parametrize("name", profiles.names())
def test_accelerate_and_deepspeed_read_every_profile(name, monkeypatch):
    from accelerate.commands import launch
    from accelerate.commands.config.config_args import load_config_from_file

    profile = profiles.find(name)
    settings = load_config_from_file(str(profile.path)).to_dict()
    assert {key: settings[key] for key in profile.settings} == profile.settings
    monkeypatch.chdir(profile_folder().parent)  # where `accelerate launch` finds the JSON
    words = ["--config_file", str(profile.path), "recipe.yaml"]
    parsed, _, _ = launch._validate_launch_command(launch.launch_command_parser().parse_args(words))
    assert parsed.num_processes == profile.settings["num_processes"]
    assert parsed.use_fsdp == (name == "fsdp2_qlora")
    if profile.deepspeed_file is None:
        return
    deepspeed = pytest.importorskip("deepspeed", reason="needs the extra 'deepspeed'")
    text = profile.deepspeed_file.read_text().replace('"auto"', "1")
    import json

    read = json.loads(text)
    for key in ("bf16", "fp16"):
        read[key]["enabled"] = False
    config = deepspeed.DeepSpeedConfig(read)
    assert config.zero_config.stage == profile.zero_stage
    assert (config.zero_config.offload_param is not None) == (name == "zero3_offload")


@pytest.mark.heavy
@pytest.mark.parametrize(("machines", "code"), [(2, 1), (1, -signal.SIGTERM)])
def test_a_machine_ends_with_what_went_wrong_though_a_scheduler_ends_it_for_anothers_end(
    machines, code, monkeypatch
):
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    monkeypatch.setenv("SLURM_NNODES", str(machines))
    monkeypatch.setenv("SLURM_NODEID", "0")
    monkeypatch.setenv("MASTER_ADDR", "here")
    monkeypatch.setattr(start, "OTHER_MACHINES_SECONDS", 1.0)
    reading, writing = os.pipe()

    def fail(parsed):
        raise ChildFailedError("finetune", {0: ProcessFailure(0, 0, 1, "")})

    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        slept = time.sleep
        monkeypatch.setattr(time, "sleep", lambda s: (os.write(writing, b"."), slept(s)))
        found = start._launched(fail, None)
        os.write(writing, b".")
        slept(1.0)  # where one machine is alone nothing keeps it, and the signal ends it
        os._exit(found)
    assert os.read(reading, 1) == b"."
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code


@pytest.mark.heavy
@pytest.mark.parametrize("times", [1, 2])
def test_a_second_ctrl_c_which_leaves_the_ranks_no_word_is_told_by_the_launcher(times, capsys):
    from torch.distributed.elastic.multiprocessing.api import SignalException

    def stopped(left):
        """As torch's launcher: a signal while it waits for its processes is raised in a handler."""
        try:
            if left > 1:
                stopped(left - 1)
        finally:
            raise SignalException("stopped", signal.SIGINT)

    assert start._launched(lambda parsed: stopped(times), None) == 130
    told = "stopped at once; the next run goes on from the last whole checkpoint\n"
    assert capsys.readouterr().err == (told if times == 2 else "")
