"""Weights are the bytes that were written, on the base they belong to, or one error says so."""

import json
import shutil
import stat
import subprocess

import chain_fakes
import pytest
from shapes import make_base
from tiny_chain import ends, settings, write

from finetune.chain.fingerprint import Fingerprints
from finetune.chain.plan import make
from finetune.chain.run import run
from finetune.chain.verify import check_model
from finetune.errors import FinetuneError
from finetune.export.names import named
from finetune.job import ModelRef
from finetune.recipe.types import Base
from finetune.sums import sha256, write_sums

EMPTY = b"\2\0\0\0\0\0\0\0{}"  # safetensors without a tensor
heavy = pytest.mark.heavy


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def done(tmp_path, monkeypatch):
    """A folder with a finished run of fake stages."""
    chain_fakes.use(monkeypatch)
    run(chain_fakes.recipe(tmp_path))
    return tmp_path


def other_byte(file):
    """The file with its last byte changed."""
    text = file.read_bytes()
    file.write_bytes(text[:-1] + bytes([text[-1] ^ 1]))


def one_error(capfd, *command):
    """What a command says that must fail: one error with a remedy, no traceback."""
    capfd.readouterr()
    code = ends(*command)
    err = capfd.readouterr().err
    assert code == 1, err
    assert "Traceback (most recent call last)" not in err
    return err


@pytest.mark.parametrize("changes", [{"dpo": {"beta": 0.2}}, {"models": ("base", "sft")}])
def test_a_changed_byte_in_what_a_stage_to_run_takes_is_told(changes, done):
    """The dpo starts from the sft's adapter, the evaluation scores it."""
    (file,) = done.glob("run/sft-*/model/value.txt")
    other_byte(file)
    with pytest.raises(
        FinetuneError, match=r"sft-\w+/model: value.txt is not the file that was"
    ) as told:
        make(chain_fakes.recipe(done, **changes))
    assert "delete the stage's folder" in told.value.remedy
    assert str(file.parent.parent) in told.value.remedy


def test_what_no_stage_takes_is_not_read(done):
    for file in done.glob("run/*/model/value.txt"):
        other_byte(file)
    assert make(chain_fakes.recipe(done)).done


def test_every_file_of_a_model_is_recorded_with_its_hash(done):
    (stage,) = done.glob("run/merge-*")
    record = json.loads((stage / "record.json").read_text())
    told = "".join(f"{digest}  {name}\n" for name, digest in record["sha256"].items())
    assert {"model/config.json", "model/value.txt"} == set(record["sha256"])
    subprocess.run(
        ["sha256sum", "--check", "--status"], input=told, text=True, cwd=stage, check=True
    )


def exported(folder):
    """A model's folder with its list of hashes."""
    (folder / "bnb4").mkdir(parents=True)
    for inside in (folder, folder / "bnb4"):
        (inside / "config.json").write_text("{}")
        (inside / "model.safetensors").write_bytes(EMPTY)
    (folder / "README.md").write_text("# A model")
    write_sums(folder)
    return folder


def check_folder(folder):
    check_model(ModelRef(base=Base(model=str(folder))), Fingerprints(folder / "none"))


def test_the_list_of_an_export_is_one_that_sha256sum_reads(tmp_path):
    folder = exported(tmp_path / "export")
    (folder / "README.md").write_text("# My model")  # people write in it
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--status", "SHA256SUMS"], cwd=folder, check=True
    )
    check_folder(folder)


@pytest.mark.parametrize("below", ["", "bnb4"])
def test_a_folder_that_carries_a_list_is_compared_with_it(below, tmp_path):
    folder = exported(tmp_path / "export")
    other_byte(folder / below / "model.safetensors")
    with pytest.raises(FinetuneError, match="is not the file that was written"):
        check_folder(folder / below)
    (folder / below / "model.safetensors").unlink()
    with pytest.raises(FinetuneError, match=r"model\.safetensors is missing"):
        check_folder(folder / below)


def test_a_tampered_hash_is_told_by_the_plan(tmp_path, monkeypatch, capfd):
    base = exported(tmp_path / "export")
    file = write(tmp_path, settings(tmp_path, base))
    assert ends("plan", file) == 0
    sums = base / "SHA256SUMS"
    digest = sha256(base / "model.safetensors")
    sums.write_text(sums.read_text().replace(digest[:8], "0" * 8))
    told = one_error(capfd, "plan", file)
    assert "should be 00000000" in told
    assert "SHA256SUMS" in told


ADAPTERS = {
    "cut": ("adapter_model.safetensors", b"\2\0\0", "ends within its header"),
    "no weights": ("notes.txt", b"", "adapter_model.safetensors is missing"),
    "a pickle": ("adapter_model.bin", b"\x80\x04", "this adapter is a pickle"),
}


@pytest.mark.parametrize("case", ADAPTERS)
@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_an_adapter_to_score_that_is_not_whole_is_told_before_any_stage(
    case, command, tmp_path, capfd
):
    name, content, what = ADAPTERS[case]
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / name).write_bytes(content)
    recipe = settings(tmp_path, exported(tmp_path / "base"), ["sft", "evaluate"])
    recipe["stages"][1]["evaluate"]["models"] = [{"name": "other", "model": str(adapter)}]
    told = one_error(capfd, command, write(tmp_path, recipe))
    assert what in told
    assert str(adapter) in told


def test_a_base_of_pickles_is_told_before_any_stage(tmp_path, capfd):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "pytorch_model.bin").write_bytes(b"\x80\x04")
    for command in ("check", "plan", "run"):
        told = one_error(capfd, command, write(tmp_path, settings(tmp_path, base)))
        assert "are pickles, which can run code" in told


def test_two_bases_of_one_shape_are_told_apart_wherever_they_differ(tmp_path):
    """Such as a base, and one into which an adapter on a few matrices was merged."""
    from finetune.models.identity import identity

    file = tmp_path / "model.safetensors"
    whole = bytes(2_000_000)
    found = set()
    for start in (None, 0, 700_000, 1_990_000):
        changed = bytearray(whole)
        if start is not None:
            changed[start : start + 10_000] = b"x" * 10_000
        file.write_bytes(changed)
        found.add(identity(Base(model=str(tmp_path)))["samples"])
    assert len(found) == 4


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/someone/models/tiny", "tiny"),
        ("/home/someone/rows/*.jsonl", "*.jsonl"),
        ("~/rows/train.jsonl", "train.jsonl"),
        ("rows/train.jsonl", "rows/train.jsonl"),
        ("owner/name", "owner/name"),
        ("/think", "/think"),
        ("/no/such place\nbut a text", "/no/such place\nbut a text"),
    ],
)
def test_paths_of_this_machine_leave_it_by_their_last_part(text, shown):
    assert named(text) == shown


@pytest.fixture(scope="module")
def after_sft(random_mistral, tmp_path_factory):
    """Folder of a run whose sft is done."""
    folder = tmp_path_factory.mktemp("done")
    assert ends("run", write(folder, settings(folder, random_mistral, ["sft"]))) == 0
    return folder / "run"


@heavy
def test_weights_can_be_read_by_all_who_may_read_the_folder(after_sft):
    (file,) = after_sft.glob("sft-*/adapter/adapter_model.safetensors")
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(
        (file.parent.parent / "record.json").stat().st_mode
    )


@heavy
def test_a_tampered_adapter_is_neither_trained_on_nor_talked_to(
    random_mistral, after_sft, tmp_path, capfd
):
    shutil.copytree(after_sft, tmp_path / "run")
    (file,) = tmp_path.glob("run/sft-*/adapter/adapter_model.safetensors")
    other_byte(file)
    recipe = write(tmp_path, settings(tmp_path, random_mistral, ["sft", "dpo"]))
    for command in (
        ["plan", recipe],
        ["run", recipe],
        ["generate", str(file.parent), "Colour?"],
        ["generate", str(tmp_path / "run"), "Colour?"],
    ):
        told = one_error(capfd, *command)
        assert "adapter_model.safetensors is not the file that was written" in told
    assert not list(tmp_path.glob("run/dpo*"))


def scored(folder, base, adapter):
    """A recipe that trains, then scores an adapter from outside."""
    recipe = settings(folder, base, ["sft", "evaluate"])
    recipe["stages"][1]["evaluate"]["models"] = [{"name": "other", "model": str(adapter)}]
    return write(folder, recipe)


@heavy
@pytest.mark.parametrize("case", ["other weights", "other shape"])
def test_an_adapter_of_another_base_is_told_before_any_training(
    case, bases, after_sft, tmp_path, capfd
):
    """One trained here knows its base; of one made elsewhere, shapes alone can tell."""
    (made,) = after_sft.glob("sft-*/adapter")
    adapter = shutil.copytree(made, tmp_path / "adapter")
    if case == "other shape":
        (adapter / "base.json").unlink()
    told = one_error(capfd, "run", scored(tmp_path, bases("mistral"), adapter))
    wanted = {
        "other weights": "this adapter was trained on other weights than those of",
        "other shape": "this adapter does not fit the base: size mismatch",
    }
    assert wanted[case] in told
    assert not list(tmp_path.glob("run/sft*"))


def hub(folder, monkeypatch):
    """A hub's cache with two commits of someone/tiny, `main` at the first; its repository."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    repository = folder / "hub" / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    for seed in (1, 2):
        make_base("llama", repository / "snapshots" / (str(seed) * 40), seed=seed)
    (repository / "refs" / "main").write_text("1" * 40)
    return repository


@heavy
def test_a_base_whose_revision_moved_is_told_before_any_training(tmp_path, monkeypatch, capfd):
    repository = hub(tmp_path, monkeypatch)
    assert ends("run", write(tmp_path, settings(tmp_path, "someone/tiny", ["sft"]))) == 0
    (repository / "refs" / "main").write_text("2" * 40)
    recipe = settings(tmp_path, "someone/tiny", ["sft", "dpo"])
    told = one_error(capfd, "run", write(tmp_path, recipe))
    assert "someone/tiny has moved" in told
    assert f"Set base.revision: {'1' * 40}" in told
    assert not list(tmp_path.glob("run/dpo*"))


@heavy
@pytest.mark.parametrize("case", ["cut", "a pickle"])
def test_weights_of_the_hub_that_cannot_be_used_are_one_error(case, tmp_path, monkeypatch, capfd):
    file = hub(tmp_path, monkeypatch) / "snapshots" / ("1" * 40) / "model.safetensors"
    recipe = write(tmp_path, settings(tmp_path, "someone/tiny", ["sft"]))
    if case == "cut":
        file.write_bytes(file.read_bytes()[:-100])
        told = one_error(capfd, "plan", recipe)
        assert "model.safetensors has " in told
    else:
        file.rename(file.with_name("pytorch_model.bin"))
        told = one_error(capfd, "run", recipe)
        assert "no weights as safetensors" in told


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_each_shard_of_a_base_is_looked_at(damage, tmp_path, capfd):
    base = exported(tmp_path / "base")
    (base / "SHA256SUMS").unlink()
    (base / "model.safetensors").unlink()
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name in shards:
        (base / name).write_bytes(EMPTY)
    index = {"weight_map": dict(zip("ab", shards, strict=True))}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    recipe = write(tmp_path, settings(tmp_path, base))
    assert ends("plan", recipe) == 0
    if damage == "cut":
        (base / shards[1]).write_bytes(EMPTY[:-1])
    else:
        (base / shards[1]).unlink()
    for command in ("check", "plan", "run"):
        assert shards[1] in one_error(capfd, command, recipe)
