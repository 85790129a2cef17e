"""Temporary folders: gone with their reader, and those of killed processes with the next one."""

import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetune.data import scratch
from finetune.data.scratch import Scratch

HOLDER = """
import time
from finetune.data.scratch import Scratch
held = Scratch()
(held.folder / "rows.arrow").write_bytes(bytes(1_230_000))
print(held.folder, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder(place):
    """Another process that holds a folder with a file in it."""
    environment = {
        **os.environ,
        "TMPDIR": str(place),
        "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
    }
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        process.folder = Path(process.stdout.readline().strip())
        yield process
        process.kill()


def test_what_a_killed_process_left_goes_with_the_next_one_and_is_told(holder, capsys):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (holder.folder / "rows.arrow").is_file()
    held = Scratch()
    assert not holder.folder.exists()
    assert held.folder.is_dir()
    told = f"removed 1.23 MB in {holder.folder}, left by a process that was killed"
    assert told in capsys.readouterr().err


def test_what_a_living_process_holds_stays(holder, capsys):
    own = Scratch()
    scratch.remove_left()
    assert (holder.folder / "rows.arrow").is_file()
    assert own.folder.is_dir()
    assert capsys.readouterr().err == ""


def test_a_child_keeps_its_dead_parents_folder(place):
    """A stage's process reads rows that its parent has laid out."""
    folder, go = place / f"{scratch.PREFIX}x", os.pipe()
    folder.mkdir()
    lock = scratch._lock(folder, wait=True)
    child = os.fork()
    if not child:
        os.read(go[0], 1)
        os._exit(0)
    os.close(lock)
    scratch.remove_left()
    assert folder.is_dir()
    os.write(go[1], b"x")
    os.waitpid(child, 0)
    scratch.remove_left()
    assert not folder.exists()


def test_a_folder_taken_for_a_dead_ones_before_it_was_locked_is_made_anew(place, monkeypatch):
    made = tempfile.mkdtemp
    seen = []

    def swept(**more):
        folder = made(**more)
        seen.append(folder)
        if len(seen) == 1:
            scratch.remove_left()
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", swept)
    held = Scratch()
    assert len(seen) == 2
    assert [held.folder] == list(place.iterdir())


def test_folders_are_made_and_let_go_side_by_side(place):
    def work():
        for _ in range(30):
            held = Scratch()
            (held.folder / "rows.arrow").write_text("x")
            assert (held.folder / "rows.arrow").read_text() == "x"
            del held

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
    assert not list(place.iterdir())
