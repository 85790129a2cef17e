"""Running a chain: order, hand-over, records, and how each kind of mishap is told."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import chain_fakes
import pytest
from chain_fakes import recipe

from finetune.chain import child, inside, mishap, room
from finetune.chain.files import write_json
from finetune.chain.lock import lock
from finetune.chain.plan import make
from finetune.chain.run import run
from finetune.errors import AGAIN, FinetuneError, StoreError
from finetune.recipe.types import Base

PATIENCE = 60.0  # for what takes a second or two when nothing else runs


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    chain_fakes.use(monkeypatch)


def values(outcome):
    return {name: (each.facts, each.scores) for name, each in outcome.records.items()}


def fails(given):
    with pytest.raises(FinetuneError) as error:
        run(given)
    return str(error.value)


def test_each_stage_starts_from_the_model_of_the_one_before(tmp_path):
    facts = values(run(recipe(tmp_path)))
    again = values(run(recipe(tmp_path, output_dir=str(tmp_path / "other"))))
    assert facts == again
    scores = facts["evaluate"][1]
    assert list(scores) == ["base", "sft", "dpo"]
    assert scores["dpo"]["loss loss"] == chain_fakes.number(facts["dpo"][0]["value"])


def test_paths_in_records_are_those_of_the_finished_folders(tmp_path):
    outcome = run(recipe(tmp_path))
    assert outcome.records["sft"].model_ref().adapter.is_dir()
    assert Path(outcome.records["merge"].model_ref().base.model).is_dir()
    assert not list((tmp_path / "run").glob("*.part"))


def test_only_what_depends_on_a_changed_key_runs_again(tmp_path):
    run(recipe(tmp_path))
    assert run(recipe(tmp_path, dpo={"beta": 0.2})).ran == ("dpo", "evaluate", "merge")
    assert run(recipe(tmp_path, dpo={"beta": 0.2})).ran == ()


def test_checkpoints_go_when_a_stage_is_done(tmp_path):
    run(recipe(tmp_path))
    assert not list((tmp_path / "run").glob("**/checkpoint-*"))


def test_a_record_says_on_what_it_was_made_and_holds_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(sys, "argv", ["finetune", "--token", "hf_other"])
    record = run(recipe(tmp_path)).records["sft"]
    assert {"versions", "python", "platform", "device", "started", "finished"} <= set(record.made)
    assert "hf_" not in (record.folder / "record.json").read_text()
    assert record.files["model/value.txt"] == 64


def test_mistakes_of_all_stages_are_told_before_the_first_runs(tmp_path):
    text = fails(recipe(tmp_path, sft={"check": "first mistake"}, dpo={"check": "second mistake"}))
    assert "first mistake" in text
    assert "second mistake" in text
    assert not list((tmp_path / "run").glob("sft-*"))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("data", "dpo stopped: pairs.jsonl line 3: 'chosen' is empty\n  Fix the row."),
        ("bug", "dpo stopped: RuntimeError: shapes differ (at chain_fakes.py:"),
        ("memory", "dpo stopped: out of memory\n  Shorten train.max_length"),
        ("torch", "dpo stopped: out of memory (DefaultCPUAllocator: can't allocate"),
        ("disk", "the disk is full\n  Free some space"),
        ("killed", "dpo stopped: its process was killed from outside (SIGKILL)"),
    ],
)
def test_a_failing_stage_is_told_with_its_remedy_and_what_is_safe(tmp_path, act, message):
    text = fails(recipe(tmp_path, dpo={"act": act}))
    assert message in text
    assert "'sft' is done and will be kept." in text
    if act != "killed":
        (trace,) = (tmp_path / "run").glob("dpo-*.part/error.txt")
        assert "Traceback" in trace.read_text()
        assert "dpo-" in text
    assert make(recipe(tmp_path)).steps[0].status == "keep"


ADVICE = "\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("CUDA error: unspecified launch failure", AGAIN),
        ("CUDA error: uncorrectable ECC error encountered", AGAIN),
        ("NCCL error in: ProcessGroupNCCL.cpp:77, unhandled cuda error (run with", AGAIN),
        ("CUDA error: device-side assert triggered", None),
        ("CUDA error: no kernel image is available for execution on the device", None),
        ("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasGemmEx`", None),
        ("CUDA out of memory. Tried to allocate 2.00 GiB.", 1),
        ("CUDA error: out of memory", 1),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", 1),
    ],
)
def test_a_gpu_that_fails_may_be_tried_again_and_a_mistake_not(tmp_path, text, code):
    told = mishap.translate(RuntimeError(text + ADVICE), tmp_path)
    assert (told.code if told else None) == code


def test_an_optimizer_that_does_not_compile_is_told_with_the_way_out(tmp_path):
    words = "DeepSpeedCPUAdam requires the cpu_adam op, which failed to build/load."
    told = mishap.translate(RuntimeError(words), tmp_path)
    assert told.what == f"DeepSpeed could not compile its optimizer ({words})"
    assert "--launch zero3" in told.remedy


def test_the_run_ends_with_the_exit_code_of_a_gpu_that_fell_off_the_bus(tmp_path):
    with pytest.raises(FinetuneError, match="dpo stopped: the GPU or its driver failed") as caught:
        run(recipe(tmp_path, dpo={"act": "gpu"}))
    assert caught.value.code == AGAIN


def test_in_a_stages_process_the_libraries_are_no_garbage_to_look_through(tmp_path, monkeypatch):
    monkeypatch.setattr(inside, "spare_for_good", (tmp_path / "spared").touch)
    run(recipe(tmp_path))
    assert (tmp_path / "spared").exists()


def test_a_damaged_result_is_put_aside_and_made_again(tmp_path, capsys):
    first = run(recipe(tmp_path))
    record = first.records["dpo"].folder / "record.json"
    record.write_text("{")
    again = run(recipe(tmp_path))
    assert again.ran == ("dpo",)
    assert values(again) == values(first)
    assert list((tmp_path / "run").glob("dpo-*.damaged-1"))
    assert "damaged-1" in capsys.readouterr().err


def test_a_second_run_is_refused_at_once_with_who_holds_the_folder(tmp_path, monkeypatch):
    given = recipe(tmp_path)
    with lock(tmp_path / "run"), monkeypatch.context() as patch:
        # Patience is for holders that are dead.
        patch.setattr(time, "sleep", lambda _: pytest.fail("waited for a run that lives"))
        text = fails(given)
    assert f"another run (pid {os.getpid()} on " in text
    assert "output_dir=" in text
    assert len(run(given).ran) == 4


def test_a_finished_run_is_shown_while_another_holds_the_folder(tmp_path):
    run(recipe(tmp_path))
    with lock(tmp_path / "run"):
        assert run(recipe(tmp_path)).ran == ()


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(StoreError, match="is not a folder"):
        run(recipe(tmp_path))


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch, code):
    given = recipe(tmp_path)

    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(StoreError, match="cannot be written to\n  Give a folder of yours"):
        run(given)


def test_a_disk_that_fills_up_is_told(tmp_path, monkeypatch):
    given = recipe(tmp_path)

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(StoreError, match="the disk is full\n  Free some space"):
        run(given)


def test_a_file_that_could_not_be_written_whole_leaves_the_old_one(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    write_json(file, {"old": 1})

    def tear(data, stream, **_):
        stream.write('{"ne')
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("json.dump", tear)
    with pytest.raises(OSError, match="full"):
        write_json(file, {"new": 2})
    assert file.read_text() == '{\n "old": 1\n}'
    assert list(tmp_path.iterdir()) == [file]


def test_before_there_are_weights_a_built_in_base_stands_for_them_in_checks(tmp_path):
    shape = Base(config={"model_type": "mistral"}, chat_template="chatml")
    plan = make(recipe(tmp_path, base=shape, models=("sft",)))
    assert inside.job(plan, 0).model.base == shape
    for index in (1, 2, 3):
        base = inside.job(plan, index).model.base
        assert (base.model, base.chat_template) == ("tiny-mistral", "chatml")


def test_evaluate_gets_the_models_it_scores_and_no_others(tmp_path):
    plan = make(recipe(tmp_path, models=("dpo", "base")))
    assert list(inside.job(plan, 2).models) == ["dpo", "base"]
    assert list(inside.job(plan, 3).models) == ["base", "sft", "dpo"]


def test_a_finished_run_on_a_read_only_disk_is_shown(tmp_path, monkeypatch):
    run(recipe(tmp_path))

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "read-only")

    given = recipe(tmp_path)
    for name in ("mkdir", "rename", "replace", "unlink"):
        monkeypatch.setattr(f"pathlib.Path.{name}", refuse)
    assert run(given).ran == ()


def test_a_full_disk_is_told_before_the_first_stage(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert "are free" in fails(recipe(tmp_path))


def test_a_fresh_process_per_stage_works_without_fork(tmp_path):
    file = tmp_path / "main.py"
    file.write_text(
        "import sys, chain_program\n"
        "from finetune.chain import child\n"
        "child.method = lambda: 'spawn'\n"
        "if __name__ == '__main__':\n"
        f"    import runpy; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')\n"
    )
    done = start(tmp_path, program=file)
    out, err = done.communicate(timeout=PATIENCE)
    assert done.returncode == 0, err
    assert "dpo" in out


def test_ctrl_c_stops_softly_and_the_next_run_goes_on(tmp_path):
    process = start(tmp_path, dpo={"pause": 0.1, "steps": 40})
    wait_for(tmp_path, "run/dpo-*.part/checkpoints/checkpoint-2/whole")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "stopped; run again to go on with 'dpo' from step" in err
    assert "Traceback" not in err
    settings = {"pause": 0.1, "steps": 40}
    assert make(recipe(tmp_path, dpo=settings)).steps[1].reason.startswith("stopped at step")


def test_a_stage_is_interrupted_once_by_the_terminal_and_its_parent(tmp_path):
    process = start(tmp_path, dpo={"act": "tidy"})
    wait_for(tmp_path, "run/dpo-*.part/ready")
    time.sleep(0.1)
    (ready,) = tmp_path.glob("run/dpo-*.part/ready")
    os.kill(int(ready.read_text()), signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert list(tmp_path.glob("run/dpo-*.part/tidied"))


@pytest.mark.parametrize("taken", ["by the main thread", "by another thread"])
def test_ctrl_c_in_the_moment_of_a_fork_is_not_lost(taken, tmp_path, monkeypatch):
    armed, done = [True], threading.Event()
    if taken == "by another thread":  # the system gives it to any that does not block it
        threading.Thread(target=done.wait, args=(30,), daemon=True).start()

    def press():  # as a library's own functions run there, in which Python loses an exception
        if armed:
            armed.clear()
            os.kill(os.getpid(), signal.SIGINT)

    ended = []
    monkeypatch.setattr(BaseProcess, "terminate", lambda process: ended.append(process.pid))
    os.register_at_fork(after_in_parent=press)
    with pytest.raises(KeyboardInterrupt):
        child.call(time.sleep, 20, folder=tmp_path, trace=tmp_path / "error.txt")
    done.set()
    assert not armed
    assert not ended, "the child never heard of it"


def test_sigterm_stops_like_ctrl_c(tmp_path):
    process = start(tmp_path, dpo={"pause": 0.1, "steps": 40})
    wait_for(tmp_path, "run/dpo-*.part/checkpoints/checkpoint-1/whole")
    process.terminate()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert "run again" in err


def test_a_stage_that_does_not_listen_is_ended(tmp_path, monkeypatch):
    process = start(tmp_path, dpo={"act": "deaf"}, soft=0.5)
    wait_for(tmp_path, "run/dpo-*.part")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert not children_in(tmp_path)


def test_no_process_outlives_a_killed_run(tmp_path):
    process = start(tmp_path, dpo={"pause": 0.1, "steps": 80})
    wait_for(tmp_path, "run/dpo-*.part/checkpoints/checkpoint-1/whole")
    process.kill()
    process.wait(timeout=PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while children_in(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not children_in(tmp_path)


def test_a_base_larger_than_the_memory_is_refused_with_the_way_out(tmp_path, monkeypatch):
    weights(tmp_path, {"w": ("F32", [1000, 1000])})
    base = Base(model=str(tmp_path / "base"))
    monkeypatch.setattr(room, "_available", lambda: 4_000_001)
    room.check_memory(base)
    monkeypatch.setattr(room, "_available", lambda: 3_999_999)
    with pytest.raises(FinetuneError, match="load_in_4bit"):
        room.check_memory(base)
    room.check_memory(Base(model=base.model, quantization={"load_in_4bit": True}))
    room.check_memory(Base(model=base.model, dtype="bfloat16"))


def test_an_accelerator_is_seen_by_its_device_file_unless_it_is_hidden(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/dev/nvidia0")
    assert child.has_accelerator()
    assert child.method() == "spawn"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not child.has_accelerator()


PROGRAM = Path(__file__).with_name("chain_program.py")


def start(folder, program=PROGRAM, soft=10.0, **changes):
    paths = [str(PROGRAM.parent), str(PROGRAM.parents[1] / "src")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "FAKE_SOFT": str(soft)}
    command = [sys.executable, str(program), str(folder), json.dumps(changes)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def wait_for(folder, pattern):
    deadline = time.monotonic() + PATIENCE
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline, f"no {pattern}"
        time.sleep(0.02)


def children_in(folder):
    """Processes started for this folder that still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder) in entry.read_text():
                found.append(entry.parent.name)
        except OSError:
            continue
    return found


def weights(folder, tensors):
    base = folder / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    header = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}
        for name, (dtype, shape) in tensors.items()
    }
    text = json.dumps(header).encode()
    (base / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
