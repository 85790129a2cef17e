"""Whatever is wrong with what a run is given: one clear message, and what is done stays done."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_chain import PAIRS, ends, settings, write, write_rows

from finetune.chain.lock import lock
from finetune.models.tokenizers import unreachable
from finetune.recipe.types import Base

SOURCE = Path(__file__).parents[1] / "src"
heavy = pytest.mark.heavy


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Stages are forked, so that what a test puts in place of a function is there in them too."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="module")
def after_sft(random_mistral, tmp_path_factory):
    """Folder of a run whose sft is done."""
    folder = tmp_path_factory.mktemp("done")
    assert ends("run", write(folder, settings(folder, random_mistral, ["sft"]))) == 0
    return folder / "run"


@pytest.fixture
def chain(random_mistral, tmp_path, after_sft):
    """The recipe of all stages, with its sft done."""
    recipe = settings(tmp_path, random_mistral)
    shutil.copytree(after_sft, tmp_path / "run")
    return recipe


def stage(recipe, kind):
    return next(each[kind] for each in recipe["stages"] if kind in each)


def assert_one_message(text):
    """One error, as `place: what` with a remedy below, and nothing a library says beside it."""
    assert "Traceback (most recent call last)" not in text
    shown = [line for line in text.splitlines() if not _is_of_the_plan(line)]
    errors = [line for line in shown if not line.startswith("  ")]
    assert len(errors) == 1, text
    assert len(shown) > 1, f"no remedy: {text}"
    assert len(shown) <= 5, text


PLAN = re.compile(
    r"  \w+ +(keep|resume|run)\b|tiny in |checking every stage"  # what is to be done, and why
    r"|what there is so far: |warning: the report was not written"
    r"|\w+: (first time|done in|\w+\.[\w.]+ .* -> |stopped (at|before)|\w+ before it changed)"
    r"|  \w+: (before the first step|reference log-probabilities|.* at once, |.* reads as )"
)


def _is_of_the_plan(line):
    return not line.strip() or PLAN.match(line)


def refuses(recipe, folder, capfd, *changes):
    """The one message of a run that must fail."""
    path = write(folder, recipe)
    capfd.readouterr()
    code = ends("run", path, *changes)
    out, err = capfd.readouterr()
    assert (code, out) == (1, ""), err
    assert_one_message(err)
    return err


def assert_sft_is_kept(recipe, folder, capfd):
    assert (
        ends("plan", write(folder, recipe), "dpo.data.path=" + str(folder / "answers.jsonl")) == 0
    )
    assert re.search(r"sft +keep\n", capfd.readouterr().out)


def row(number, **changes):
    """The pairs with one of them changed; None takes the column away."""
    rows = [dict(each) for each in PAIRS]
    changed = {**rows[number - 1], **changes}
    rows[number - 1] = {key: value for key, value in changed.items() if value is not None}
    return rows


ROWS = {
    "empty": ("", ["no rows"]),
    "a column is missing": ([{"prompt": "a", "chosen": "b"}], ["prompt (text)", "rejected"]),
    "a row lacks the column": (row(3, rejected=None), ["line 3", "'rejected'"]),
    "a value is empty": (row(5, chosen=""), ["line 5", "'chosen'"]),
    "a value is white": (row(5, chosen=" \n"), ["line 5", "'chosen'"]),
    "equal answers": (row(4, rejected=PAIRS[3]["chosen"]), ["same text", "line 4"]),
    "a number as answer": (
        [{**each, "chosen": 3} for each in PAIRS],
        ["16 of 16", "1, 2, 3", "'chosen'"],
    ),
    "not JSON": (json.dumps(PAIRS[0]) + '\n{"prompt": \n', ["line 2", "column 1"]),
    "a list": ("[1, 2]\n", ["line 1", "no JSON object"]),
    "not text": ("\x00\x01\x02", ["line 1"]),
}


@heavy
@pytest.mark.parametrize("case", ROWS)
def test_rows_that_cannot_be_learnt_are_refused_before_any_stage(case, chain, tmp_path, capfd):
    rows, told = ROWS[case]
    bad = stage(chain, "dpo")["data"]["path"] = write_rows(tmp_path / "bad.jsonl", rows)
    text = refuses(chain, tmp_path, capfd)
    assert [part for part in ["dpo", bad, *told] if part not in text] == []
    assert_sft_is_kept(chain, tmp_path, capfd)
    assert not list((tmp_path / "run").glob("*.part"))


QUESTION, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


@heavy
@pytest.mark.parametrize("before", [0, 30], ids=["all", "one late"])
@pytest.mark.parametrize("messages", [[], [{"role": "user"}], "hello", [QUESTION]], ids=str)
def test_conversations_without_an_answer_are_refused(
    messages, before, random_mistral, tmp_path, capfd
):
    recipe = settings(tmp_path, random_mistral, ["sft"])
    rows = [{"messages": [QUESTION, ANSWER]}] * before + [{"messages": messages}]
    stage(recipe, "sft")["data"]["path"] = write_rows(tmp_path / "talks.jsonl", rows)
    text = refuses(recipe, tmp_path, capfd)
    assert f"line {before + 1}" in text
    assert not list((tmp_path / "run").glob("*.part"))


@heavy
def test_a_base_without_tokenizer_is_refused(random_mistral, tmp_path, capfd):
    base = shutil.copytree(random_mistral, tmp_path / "base")
    for file in base.glob("*token*"):
        file.unlink()
    text = refuses(settings(tmp_path, base), tmp_path, capfd)
    assert "no tokenizer" in text
    assert str(base) in text


@heavy
@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("config.json", '{"model_type": "of-tomorrow"}', "of-tomorrow"),
        ("config.json", '{"model_type": ', "config.json cannot be read"),
        ("tokenizer.json", '{"version": ', "no tokenizer"),
    ],
)
def test_a_base_of_files_that_cannot_be_used_is_refused_before_any_stage(
    name, content, told, random_mistral, tmp_path, capfd
):
    base = shutil.copytree(random_mistral, tmp_path / "base")
    (base / name).write_text(content)
    text = refuses(settings(tmp_path, base), tmp_path, capfd)
    assert told in text
    assert str(base) in text
    assert not list((tmp_path / "run").glob("*.part"))


@heavy
def test_an_adapter_given_as_base_is_told_from_one(random_mistral, after_sft, tmp_path, capfd):
    (adapter,) = after_sft.glob("sft-*/adapter")
    text = refuses(settings(tmp_path, adapter), tmp_path, capfd)
    assert "holds an adapter" in text


@heavy
@pytest.mark.parametrize("kept", [0, 4, 5000, -100])
def test_a_base_with_weights_cut_short_is_refused_before_any_stage(
    kept, random_mistral, tmp_path, capfd
):
    base = shutil.copytree(random_mistral, tmp_path / "base")
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    text = refuses(settings(tmp_path, base), tmp_path, capfd)
    assert "model.safetensors" in text
    assert not list((tmp_path / "run").glob("*.part"))


@heavy
def test_a_base_without_weights_is_refused_before_any_stage(random_mistral, tmp_path, capfd):
    base = shutil.copytree(random_mistral, tmp_path / "base")
    (base / "model.safetensors").unlink()
    text = refuses(settings(tmp_path, base), tmp_path, capfd)
    assert "safetensors" in text
    assert str(base) in text
    assert not list((tmp_path / "run").glob("*.part"))


@heavy
def test_a_hub_id_that_cannot_be_reached_is_told_before_any_stage(tmp_path, capfd):
    """In a process of its own: the hub's library reads its switch at import."""
    path = write(tmp_path, settings(tmp_path, "nobody/never-heard-of"))
    done = finetune("run", path, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"))
    assert done.returncode == 1, done.stderr
    assert_one_message(done.stderr)
    assert "nobody/never-heard-of" in done.stderr
    assert "offline" in done.stderr
    assert not list((tmp_path / "run").glob("*.part"))


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub():
    told = str(unreachable(Base(model="./bases/mine"), OSError("Repo id must use")))
    assert told.startswith("base.model: ./bases/mine: no such folder")
    assert "hub" not in told


def finetune(*arguments, **environment):
    command = [sys.executable, "-m", "finetune", *arguments]
    variables = {**os.environ, "PYTHONPATH": str(SOURCE), "CUDA_VISIBLE_DEVICES": "", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=variables, check=False)


def light(folder, **changes):
    """A recipe that no stage is reached of: its base is a folder with a config and no tensors."""
    base = folder / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").write_text("\2\0\0\0\0\0\0\0{}")
    return {**settings(folder, base), **changes}


def test_a_missing_file_is_told_with_the_folder_that_paths_start_at(tmp_path):
    recipe = light(tmp_path)
    stage(recipe, "sft")["data"]["path"] = "rows/none.jsonl"
    done = finetune("run", write(tmp_path, recipe))
    assert done.returncode == 1
    assert_one_message(done.stderr)
    assert "sft: rows/none.jsonl: no such file" in done.stderr
    assert str(Path.cwd()) in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_base_folder_that_is_not_there_is_told(tmp_path):
    done = finetune("run", write(tmp_path, light(tmp_path)), f"base.model={tmp_path}/none")
    assert done.returncode == 1
    assert_one_message(done.stderr)
    assert "no such folder" in done.stderr


def test_pickled_weights_are_refused_with_what_to_do(tmp_path):
    recipe = light(tmp_path)
    (tmp_path / "base" / "model.safetensors").rename(tmp_path / "base" / "pytorch_model.bin")
    done = finetune("check", write(tmp_path, recipe))
    assert done.returncode == 1
    assert_one_message(done.stderr)
    assert "pickles" in done.stderr


def test_a_missing_part_of_large_weights_is_told_by_name(tmp_path):
    recipe = light(tmp_path)
    base = tmp_path / "base"
    (base / "model.safetensors").rename(base / "model-00001-of-00002.safetensors")
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    done = finetune("check", write(tmp_path, recipe))
    assert done.returncode == 1
    assert_one_message(done.stderr)
    assert "model-00002-of-00002.safetensors is missing" in done.stderr


def test_two_stages_of_one_name_are_refused_with_both_lines(tmp_path):
    recipe = light(tmp_path)
    recipe["stages"].insert(1, recipe["stages"][0])
    done = finetune("run", write(tmp_path, recipe))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(r"line \d+: .*'sft'", done.stderr)
    assert "name" in done.stderr


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/finetune"])
def test_a_run_folder_that_cannot_be_made_is_told(place, tmp_path):
    (tmp_path / "file").write_text("mine")
    folder = tmp_path / place  # an absolute place stands for itself
    done = finetune("run", write(tmp_path, light(tmp_path, output_dir=str(folder))))
    assert done.returncode == 1
    assert_one_message(done.stderr)
    assert f"{folder}: the run folder" in done.stderr
    assert "output_dir" in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


@contextmanager
def mounted(folder, options):
    """A small file system of its own, where this user may mount one."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_read_only_run_folder_is_told(tmp_path):
    with mounted(tmp_path / "disk", "size=1m,ro") as disk:
        done = finetune("run", write(tmp_path, light(tmp_path, output_dir=str(disk / "run"))))
    assert done.returncode == 1
    assert_one_message(done.stderr)
    assert "cannot be written to" in done.stderr


def test_a_disk_too_small_for_the_results_is_told_before_the_first_stage(tmp_path):
    with mounted(tmp_path / "disk", "size=1m") as disk:
        done = finetune("run", write(tmp_path, light(tmp_path, output_dir=str(disk / "run"))))
    assert done.returncode == 1
    assert_one_message(done.stderr)
    assert "are free" in done.stderr


@heavy
def test_a_disk_that_fills_up_while_an_adapter_is_written_keeps_what_is_done(
    chain, tmp_path, capfd, monkeypatch
):
    monkeypatch.setattr("finetune.chain.room.check_disk", lambda *_: None)
    with mounted(tmp_path / "disk", "size=600k") as disk:
        shutil.copytree(tmp_path / "run", disk / "run")
        chain["output_dir"] = str(disk / "run")
        text = refuses(chain, tmp_path, capfd)
        assert "dpo stopped: " in text
        assert "the disk is full" in text
        assert "'sft' is done" in text
        assert_sft_is_kept(chain, tmp_path, capfd)


@heavy
def test_a_disk_full_for_the_record_alone_leaves_the_stage_to_be_done_again(
    chain, tmp_path, capfd, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("finetune.chain.record.write_json", full)
        assert "the disk is full" in refuses(chain, tmp_path, capfd)
    assert_sft_is_kept(chain, tmp_path, capfd)
    assert ends("run", write(tmp_path, chain)) == 0


def test_a_second_run_in_a_folder_at_work_is_refused(tmp_path):
    with lock(tmp_path / "run"):
        done = finetune("run", write(tmp_path, light(tmp_path)))
    assert done.returncode == 1
    assert_one_message(done.stderr)
    assert f"pid {os.getpid()}" in done.stderr
    assert "output_dir" in done.stderr


@heavy
def test_a_base_larger_than_the_memory_is_refused(chain, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("finetune.chain.room._available", lambda: 100_000)
    text = refuses(chain, tmp_path, capfd)
    assert "of memory" in text
    assert "load_in_4bit" in text
    monkeypatch.undo()
    assert_sft_is_kept(chain, tmp_path, capfd)


@heavy
def test_a_batch_that_does_not_divide_over_the_processes_is_refused(
    chain, tmp_path, capfd, monkeypatch
):
    monkeypatch.setattr("finetune.stages.training.world_size", lambda: 3)
    text = refuses(chain, tmp_path, capfd)
    assert "dpo" in text
    assert "3 and 6" in text


@heavy
def test_a_template_in_which_no_answer_can_be_found_is_refused(random_mistral, tmp_path, capfd):
    base = shutil.copytree(random_mistral, tmp_path / "base")
    counting = "{{ messages | length }}{% for m in messages %}{{ m.content | length }}{% endfor %}"
    (base / "chat_template.jinja").write_text(counting)
    text = refuses(settings(tmp_path, base), tmp_path, capfd)
    assert "template" in text
    assert "base.chat_template" in text
    assert not list((tmp_path / "run").glob("*.part"))


@heavy
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_length_that_leaves_no_room_for_an_answer_is_refused_before_any_stage(
    kind, chain, tmp_path, capfd
):
    stage(chain, kind)["train"]["max_length"] = 4
    text = refuses(chain, tmp_path, capfd)
    assert "max_length" in text
    assert not list((tmp_path / "run").glob("*.part"))


@heavy
def test_a_loss_that_is_no_number_stops_the_stage(chain, tmp_path, capfd):
    stage(chain, "sft")["train"] |= {"learning_rate": 1e30, "max_grad_norm": 0, "warmup_steps": 0}
    text = refuses(chain, tmp_path, capfd)
    assert "sft stopped: " in text
    assert "the loss is nan" in text
    assert "learning_rate" in text
    assert not list((tmp_path / "run").glob("sft-*/adapter.broken"))


@heavy
@pytest.mark.parametrize("target", [["nothing_here"], "nothing.*"])
def test_lora_on_layers_that_are_not_there_is_refused(target, chain, tmp_path, capfd):
    stage(chain, "sft")["lora"]["target_modules"] = target
    text = refuses(chain, tmp_path, capfd)
    assert "nothing" in text
    assert "target_modules" in text
    assert not list((tmp_path / "run").glob("*.part"))


def test_merging_what_has_no_adapter_is_refused(tmp_path):
    recipe = light(tmp_path)
    del stage(recipe, "sft")["lora"]
    recipe["stages"] = [each for each in recipe["stages"] if "sft" in each or "merge" in each]
    done = finetune("run", write(tmp_path, recipe))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "merge" in done.stderr
    assert "adapter" in done.stderr
