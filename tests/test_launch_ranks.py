"""A recipe means the same on one process and on several, however they share the work."""

import importlib.util
import json

import pytest
from tiny_chain import ends, settings, write
from together import killed_at, run_together

from finetune.chain import record

pytestmark = pytest.mark.heavy

STEPS = 4
PROFILES = ["cpu_2", "zero1", "zero2", "zero3"]
# Float32 sums in another order; what was agreed on for every way to spread the same rows.
LARGEST_GAP, MEAN_GAP = 1e-4, 1e-5


@pytest.fixture(autouse=True, scope="module")
def forked():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield


def needs(profile):
    if profile.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("needs the extra 'deepspeed'")


def recipe(folder, base, **train):
    """Eight rows a step; adapters large enough for ZeRO-3 to split them."""
    plain = settings(folder, base, kinds=("sft", "dpo", "evaluate"), steps=STEPS)
    for stage, kind in zip(plain["stages"], ("sft", "dpo"), strict=False):
        stage[kind] |= {"batch_size": 8, "train": {**stage[kind]["train"], **train}}
        # Six rows are left for the last step: not a whole batch, and no two halves of whole ones.
        stage[kind]["train"]["num_train_epochs"] = STEPS * 8 / 16 - 2 / 16
    plain["stages"][0]["sft"]["lora"] = {"r": 16, "lora_dropout": 0.0}
    return write(folder, plain)


@pytest.fixture(scope="module")
def alone(random_mistral, tmp_path_factory):
    """The folder of the chain on one process, all eight rows at once."""
    folder = tmp_path_factory.mktemp("alone")
    assert ends("run", recipe(folder, random_mistral)) == 0
    return folder


def found(folder):
    """Records by stage."""
    records = (record.read(path) for path in folder.glob("run/*-????????"))
    return {one.name: one for one in records}


def curve(folder, stage):
    (path,) = folder.glob(f"run/{stage}-????????/history.jsonl")
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return {entry["step"]: entry for entry in entries if "loss" in entry}


def assert_same(folder, alone):
    """Curves, and the table at the end."""
    for stage in ("sft", "dpo"):
        ours, theirs = curve(folder, stage), curve(alone, stage)
        assert list(ours) == list(theirs) == list(range(1, STEPS + 1))
        for name in ("loss", "grad_norm"):
            gaps = [abs(ours[step][name] - theirs[step][name]) for step in theirs]
            assert max(gaps) <= LARGEST_GAP, (stage, name, gaps)
            assert sum(gaps) / len(gaps) <= MEAN_GAP, (stage, name, gaps)
        rates = [[entry["learning_rate"] for entry in each.values()] for each in (ours, theirs)]
        assert rates[0] == rates[1]
    ours, theirs = found(folder)["evaluate"].scores, found(alone)["evaluate"].scores
    assert ours.keys() == theirs.keys()
    for model, scores in theirs.items():
        assert ours[model] == pytest.approx(scores, abs=1e-4)


def test_four_accumulated_batches_of_two_are_one_of_eight(alone, random_mistral, tmp_path):
    path = recipe(tmp_path, random_mistral)
    from finetune.stages import batches

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(batches.ROWS_AT_ONCE, "cpu", 2)
        assert ends("run", path) == 0
    assert_same(tmp_path, alone)


@pytest.mark.parametrize("profile", PROFILES)
def test_two_ranks_one_of_them_killed_and_resumed_end_like_one_process(
    profile, alone, random_mistral, tmp_path
):
    needs(profile)
    path, log = recipe(tmp_path, random_mistral), tmp_path / "log"
    marks = "run/sft-*.part/checkpoints/checkpoint-*/whole"
    with killed_at(["run", path], log, profile, lambda: list(tmp_path.glob(marks))) as (
        codes,
        took,
    ):
        assert all(codes)
        assert took < 30
    text = run_together(["run", path], tmp_path / "again", profile)
    assert "resume: stopped at step" in text
    assert found(tmp_path)["sft"].facts["resumed_at_step"] > 0
    assert found(tmp_path)["sft"].made["ranks"] == 2
    assert_same(tmp_path, alone)
