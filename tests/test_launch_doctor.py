"""The doctor: what it finds is what there is, and only what is broken ends with an error."""

import importlib.metadata
import importlib.util
import json
import socket
import sys
import threading

import pytest

from finetune import cli
from finetune.embedded import constraints_file
from finetune.launch import doctor, network, versions
from finetune.launch.doctor import Finding


def ends(capsys, *words):
    """Exit code, standard output and error of the command."""
    try:
        cli.main(["doctor", *words])
        code = 0
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


GOOD = Finding("disk", "ok", "79 GB free")
ODD = Finding("hub", "warn", "does not answer", "Copy bases here")
BROKEN = Finding("trl", "missing", "not installed", "pip install 'trl>=1.16,<1.17'")


def test_only_what_is_missing_ends_with_an_error(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "LOOKS", (lambda: [GOOD], lambda: [ODD]))
    code, out, err = ends(capsys)
    assert (code, err) == (0, "ready\n")
    assert out.splitlines() == [
        "ok    disk  79 GB free",
        "warn  hub   does not answer",
        "            Copy bases here",
    ]
    monkeypatch.setattr(doctor, "LOOKS", (lambda: [GOOD, BROKEN],))
    code, out, err = ends(capsys)
    assert code == 1
    assert "1 missing" in err
    assert "pip install 'trl>=1.16,<1.17'" in out


def test_json_says_the_same(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "LOOKS", (lambda: [GOOD, ODD],))
    code, out, _ = ends(capsys, "--json")
    assert code == 0
    assert [Finding(**each) for each in json.loads(out)] == [GOOD, ODD]


def test_a_part_that_breaks_while_it_is_looked_at_is_reported(monkeypatch, capsys):
    def _kernels():
        raise OSError("libcudart.so: cannot open shared object file\nand more")
        yield

    monkeypatch.setattr(doctor, "LOOKS", (_kernels, lambda: [GOOD]))
    code, out, _ = ends(capsys)
    assert code == 1
    assert "missing  kernels  OSError: libcudart.so: cannot open shared object file" in out
    assert "and more" not in out
    assert "79 GB free" in out


def versioned(monkeypatch, **changed):
    real = importlib.metadata.version

    def version(name):
        if changed.get(name, "") is None:
            raise importlib.metadata.PackageNotFoundError
        return changed.get(name) or real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    return {each.part: each for each in doctor._libraries()}


def test_libraries_are_held_against_what_is_needed_and_what_was_tested(monkeypatch):
    found = versioned(monkeypatch, trl="1.15.2", peft=None, torch="2.12.0+cu126")
    assert found["trl"].status == "missing"
    assert "needs trl<1.17,>=1.16" in found["trl"].what
    assert found["peft"].status == "missing"
    assert found["peft"].remedy.startswith("pip install 'peft<")
    tested = versions._tested()["torch"]
    assert found["torch"].status == "warn"
    assert found["torch"].remedy == f"pip install torch=={tested}"
    assert "transformers" in found["libraries"].what


def test_a_build_of_a_tested_version_is_as_tested(monkeypatch):
    tested = versions._tested()["torch"]
    assert (
        f"torch {tested}+cu130" in versioned(monkeypatch, torch=f"{tested}+cu130")["libraries"].what
    )


def test_every_library_that_is_needed_has_a_tested_version():
    assert constraints_file().is_file()
    needed = {each.name for each in versions.libraries()}
    assert {"torch", "transformers", "trl", "peft", "bitsandbytes"} <= needed
    assert not [each.name for each in versions.libraries() if not each.tested]


def test_a_disk_that_is_nearly_full_is_told(monkeypatch):
    usage = type("Usage", (), {"free": 5e8, "total": 1e12})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    (found,) = doctor._disk()
    assert found.status == "missing"
    assert "output_dir" in found.remedy


@pytest.mark.parametrize(
    "kind", ["UNIX x86_64 Kernel Module ", "UNIX Open Kernel Module for x86_64 "]
)
def test_a_driver_too_old_for_torchs_cuda_is_told_with_the_one_it_needs(
    kind, tmp_path, monkeypatch
):
    monkeypatch.setattr(doctor, "DRIVER", tmp_path / "version")
    assert doctor._driver() == "unknown"
    (tmp_path / "version").write_text(
        f"NVRM version: NVIDIA {kind} 550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
        "GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1)\n"
    )
    assert doctor._driver() == "550.54.15"
    assert "needs a driver of 580 or later" in doctor._newer_driver("13.0")
    assert "needs a driver of 525 or later" in doctor._newer_driver("12.6")


def test_the_hub_is_not_asked_when_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("asked"))
    assert network.hub() == (True, "not asked: HF_HUB_OFFLINE is set")


def test_the_hub_is_a_connection_and_nothing_more(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        assert network.hub() == (True, "127.0.0.1 answers")
        connection, _ = server.accept()
        with connection:
            assert connection.recv(100) == b""
    monkeypatch.setattr(network, "SECONDS", 0.3)
    reached, what = network.hub()
    assert not reached
    assert "built-in and local bases only" in what


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(network, "SECONDS", 0.05)
    answered = threading.Event()

    def slow(*_, **__):
        answered.wait(60)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", slow)
    assert network.hub()[0] is False
    answered.set()


@pytest.mark.heavy
def test_this_machine_is_fit(capsys):
    code, out, err = ends(capsys)
    assert code == 0, out + err
    parts = {line.split()[1] for line in out.splitlines() if not line.startswith(" ")}
    assert {"python", "libraries", "device", "4", "disk", "hub", "--launch"} <= parts
    assert "cpu, cpu_2" in out


@pytest.mark.heavy
def test_four_bits_that_compute_something_else_are_found(monkeypatch):
    import bitsandbytes

    monkeypatch.setattr(bitsandbytes.nn.Linear4bit, "forward", lambda self, rows: rows)
    (found,) = doctor._four_bits()
    assert found.status == "missing"


@pytest.mark.heavy
def test_kernels_are_told_apart_as_absent_broken_and_there(monkeypatch):
    import torch

    (none,) = doctor._kernels()
    assert "on a CPU" in none.what
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    absent = list(doctor._kernels())
    assert [each.remedy for each in absent] == [row[2] for row in doctor.KERNELS.values()]
    there = {"flash_attn": None, "liger_kernel": doctor}  # None: an import that fails
    real = importlib.metadata.version
    for name, module in there.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: doctor.__spec__)
    versions = {"liger-kernel": "0.8.5"}
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: versions.get(name) or real(name)
    )
    broken, good = doctor._kernels()
    assert (broken.status, good.status) == ("warn", "ok")
    assert "does not load: " in broken.what
    assert broken.remedy.startswith("pip install flash-attn --no-build-isolation --force")
    assert good.what.startswith("0.8.5: ")
