"""What a run folder holds that nothing needs: found, told with its size, removed when told."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import chain_fakes
import pytest
from chain_fakes import recipe

from finetune import cli
from finetune.chain.leftovers import Wanted, held, leftovers, remove
from finetune.chain.lock import lock
from finetune.chain.plan import make, store_of
from finetune.chain.run import run
from finetune.commands import command
from finetune.errors import StoreError

TESTS = Path(__file__).parent
DIES = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
import chain_fakes, pytest
chain_fakes.use(pytest.MonkeyPatch())
from finetune.chain.run import run
run(chain_fakes.recipe(Path({folder!r}), dpo={{"pause": 0.2}}))
"""


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    chain_fakes.use(monkeypatch)


def left(given):
    """Names of what is left over by a recipe: of no use, and of use to other settings."""
    found = leftovers(store_of(given), Wanted.by_plan(make(given)))
    return tuple([e.path.name for e in found if e.useful is useful] for useful in (False, True))


def everything(folder):
    return {str(each.relative_to(folder)) for each in folder.rglob("*")} - {".lock"}


def test_a_fresh_run_leaves_nothing(tmp_path):
    given = recipe(tmp_path)
    run(given)
    assert left(given) == ([], [])


def test_what_a_damaged_result_was_put_aside_as_is_removed(tmp_path):
    given = recipe(tmp_path)
    (run(given).records["dpo"].folder / "record.json").write_text("{")
    run(given)
    before = everything(tmp_path / "run")
    ((name,), useful) = left(given)
    assert name.startswith("dpo-") and name.endswith(".damaged-1") and not useful
    ((gone, size),) = remove(store_of(given), Wanted.by_plan(make(given)), superseded=False)
    assert gone.path.name == name and size > 64  # the value is a hash of 64 letters
    assert all(each.split("/")[0] == name for each in before - everything(tmp_path / "run"))
    assert make(given).done


def test_stages_of_other_settings_stay_until_they_are_asked_for(tmp_path):
    old, new = recipe(tmp_path), recipe(tmp_path, dpo={"steps": 3})
    run(old)
    run(new)
    idle, useful = left(new)
    assert idle == []
    assert [name[:-9] for name in useful] == ["dpo", "evaluate", "merge"]  # sft is shared
    assert remove(store_of(new), Wanted.by_plan(make(new)), superseded=False) == []
    assert make(old).done and make(new).done
    remove(store_of(new), Wanted.by_plan(make(new)), superseded=True)
    assert make(new).done
    assert [step.status for step in make(old).steps] == ["keep", "run", "run", "run"]


def test_by_a_folder_the_last_run_decides(tmp_path):
    old, new = recipe(tmp_path, dpo={"steps": 3}), recipe(tmp_path)
    run(old)
    run(new)
    folder = tmp_path / "run"
    remove(store_of(new), Wanted.by_journal(folder), superseded=True)
    assert make(new).done and not make(old).done


def test_without_an_account_of_the_last_run_no_stage_is_superseded(tmp_path):
    given = recipe(tmp_path)
    run(given)
    folder = tmp_path / "run"
    (folder / "run.json").write_text("{")
    assert leftovers(store_of(given), Wanted.by_journal(folder)) == []


def test_a_stage_that_the_recipe_names_by_its_folder_is_needed(tmp_path):
    old, new = recipe(tmp_path, name="fake"), recipe(tmp_path, dpo={"steps": 3})
    merged = run(old).records["merge"].folder
    run(new)
    assert merged.name in left(new)[1]
    wanted = Wanted.by_plan(make(new))
    for path in (f"{merged}/model", f"run:{merged.name}/model"):
        named = Wanted(wanted.steps, {"stages": [{"evaluate": {"models": [{"model": path}]}}]})
        assert merged not in [each.path for each in leftovers(store_of(new), named)]


def test_what_a_killed_run_left_is_gone_on_with_or_cleaned(tmp_path):
    """kill -9 in the middle of dpo, once with a file half written."""
    program = DIES.format(tests=str(TESTS), folder=str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent / "src")}
    with subprocess.Popen([sys.executable, "-c", program], env=environment) as process:
        while not list((tmp_path / "run").glob("dpo-*.part/checkpoints/*/whole")):
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    same, other = recipe(tmp_path, dpo={"pause": 0.2}), recipe(tmp_path)
    torn = next((tmp_path / "run").glob("sft-*")) / "record.json.123.tmp"
    torn.write_text("half")
    assert left(same) == ([torn.name], [])  # the same recipe goes on
    run(other)
    idle, (part,) = left(other)
    assert idle == [torn.name]
    assert part.startswith("dpo-") and part.endswith(".part")
    remove(store_of(other), Wanted.by_plan(make(other)), superseded=True)
    assert left(other) == ([], [])
    assert make(other).done


def test_a_stage_done_a_second_time_leaves_its_first_half_to_be_cleaned(tmp_path):
    given = recipe(tmp_path)
    done = run(given).records["dpo"].folder
    part = done.with_name(f"{done.name}.part")
    (part / "checkpoints").mkdir(parents=True)
    (done / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    assert left(given) == ([part.name, "checkpoints"], [])
    remove(store_of(given), Wanted.by_plan(make(given)), superseded=False)
    assert done.is_dir() and not part.exists() and not (done / "checkpoints").exists()


def test_what_is_no_stages_is_never_touched(tmp_path):
    given = recipe(tmp_path)
    run(given)
    folder = tmp_path / "run"
    for name in ("notes", "reference", "sft-old", "sft-12345678x", "backup-20261121"):
        (folder / name).mkdir()
    (folder / "sft-12345678").symlink_to(tmp_path)
    (folder / "mine.tmp").write_text("x")
    before = everything(folder)
    remove(store_of(given), Wanted.by_plan(make(given)), superseded=True)
    assert everything(folder) == before


def test_a_folder_in_use_is_refused(tmp_path, monkeypatch):
    given = recipe(tmp_path)
    (run(given).records["dpo"].folder / "record.json").write_text("{")
    run(given)
    wanted, before = Wanted.by_plan(make(given)), everything(tmp_path / "run")
    with lock(tmp_path / "run"), pytest.raises(StoreError, match="another run"):
        remove(store_of(given), wanted, superseded=True)
    assert everything(tmp_path / "run") == before


def test_a_file_with_another_name_elsewhere_frees_nothing(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "model").write_bytes(bytes(1000))
    (tmp_path / "b" / "model").hardlink_to(tmp_path / "a" / "model")
    (tmp_path / "b" / "own").write_bytes(bytes(10))
    folders = [tmp_path / "a", tmp_path / "b"]
    assert [held([each]) for each in folders] == [0, 10]
    assert held(folders) == 1010


def test_the_command_lists_with_sizes_and_removes_only_when_told(tmp_path, monkeypatch, capsys):
    old, new = recipe(tmp_path), recipe(tmp_path, dpo={"steps": 3})
    (run(old).records["dpo"].folder / "model" / "value.txt").write_text("")
    run(old)
    run(new)
    monkeypatch.setattr(command, "_load", lambda parsed: new)
    before = everything(tmp_path / "run")

    def says(*arguments):
        cli.main(["clean", *arguments])
        return capsys.readouterr().out

    listed = says("x.yaml")
    assert everything(tmp_path / "run") == before
    idle, useful = listed.split("\n\n")
    assert "needed by nothing" in idle
    assert ".damaged-1  put aside: one of its files was gone" in idle and "--yes" in idle
    assert "bytes" in idle or "kB" in idle
    assert (
        "left by other settings" in useful
        and " finished 20" in useful
        and "--superseded --yes" in useful
    )
    assert says(str(tmp_path / "run")) == listed
    assert ".damaged-1" in says("x.yaml", "--yes")
    assert make(old).done
    assert "merge-" in says("x.yaml", "--yes", "--superseded")
    assert says("x.yaml").endswith("everything in it is needed\n")
    assert says("x.yaml", "--yes").endswith("nothing to remove\n")
    assert make(new).done


def test_a_folder_that_is_not_there_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "_load", lambda parsed: recipe(tmp_path))
    with pytest.raises(SystemExit):
        cli.main(["clean", "x.yaml", "--yes"])
    assert "there is no such run folder" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
