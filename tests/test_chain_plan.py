"""Plans: what is kept, what runs, and the reason in the recipe's own words."""

import json
import shutil
from dataclasses import replace

import chain_fakes
import pytest
from chain_fakes import recipe

from finetune.chain.plan import make
from finetune.chain.run import run
from finetune.errors import FinetuneError
from finetune.recipe.types import Base, Data, Sft


@pytest.fixture
def done(tmp_path, monkeypatch):
    """A folder in which the fake recipe has run."""
    chain_fakes.use(monkeypatch)
    run(recipe(tmp_path))
    return tmp_path


def told(given):
    return {step.stage.name: str(step) for step in make(given).steps}


def folder_of(done, name):
    (found,) = (done / "run").glob(f"{name}-????????")
    return found


def test_a_new_recipe_runs_everything_for_the_first_time(tmp_path):
    assert set(told(recipe(tmp_path)).values()) == {"run: first time"}


def test_planning_writes_nothing(tmp_path):
    make(recipe(tmp_path))
    assert not (tmp_path / "run").exists()


def test_what_is_done_is_kept(done):
    assert set(told(recipe(done)).values()) == {"keep"}


def test_a_changed_key_is_named_with_both_values(done, monkeypatch):
    run(recipe(done, dpo={"beta": 0.1}))
    assert told(recipe(done, dpo={"beta": 0.2})) == {
        "sft": "keep",
        "dpo": "run: dpo.train.beta 0.1 -> 0.2",
        "evaluate": "run: dpo changed",
        "merge": "run: dpo before it changed",
    }


def test_a_key_that_is_new_in_an_empty_block_is_named_alone(done):
    assert told(recipe(done, dpo={"beta": 0.2}))["dpo"] == "run: dpo.train.beta unset -> 0.2"


def test_going_back_to_earlier_settings_finds_their_results(done):
    run(recipe(done, dpo={"beta": 0.2}))
    assert set(told(recipe(done)).values()) == {"keep"}


def test_a_changed_file_is_named(done):
    (done / "pairs.jsonl").write_text('{"a": 3}\n')
    assert told(recipe(done))["dpo"] == "run: data pairs.jsonl changed"


def test_a_changed_seed_and_base_are_named(done):
    given = recipe(done)
    given = replace(given, seed=1, base=replace(given.base, dtype="float32"))
    assert told(given)["sft"] == "run: seed 42 -> 1; base.dtype auto -> float32"


def test_a_renamed_stage_is_kept(done):
    given = recipe(done)
    renamed = (replace(given.stages[0], name="first"), *given.stages[1:2])
    assert set(told(replace(given, stages=renamed)).values()) == {"keep"}


def test_a_deleted_adapter_makes_its_stage_run_again(done):
    (folder_of(done, "sft") / "model" / "value.txt").unlink()
    assert told(recipe(done))["sft"] == "run: value.txt is missing"


def test_a_cut_adapter_makes_its_stage_run_again(done):
    (folder_of(done, "sft") / "model" / "value.txt").write_text("x")
    assert "another size" in told(recipe(done))["sft"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b"\xff\xfe"])
def test_a_damaged_record_is_not_trusted(done, damage):
    (folder_of(done, "dpo") / "record.json").write_bytes(damage)
    assert told(recipe(done))["dpo"] == "run: its record is damaged"
    assert told(recipe(done))["sft"] == "keep"


def test_a_torn_record_is_not_trusted_wherever_it_was_cut(done):
    file = folder_of(done, "dpo") / "record.json"
    whole = file.read_bytes()
    for length in range(0, len(whole) - 1, 97):
        file.write_bytes(whole[:length])
        assert told(recipe(done))["dpo"].startswith("run: ")


def test_a_record_under_a_wrong_key_is_not_trusted(done):
    file = folder_of(done, "dpo") / "record.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"key": "0" * 64}))
    assert told(recipe(done))["dpo"] == "run: its record belongs to other settings"


def test_a_missing_record_is_not_done(done):
    (folder_of(done, "dpo") / "record.json").unlink()
    assert told(recipe(done))["dpo"] == "run: its record is missing"


@pytest.mark.parametrize("change", [{}, {"beta": 0.2}])
def test_a_stage_whose_folder_was_deleted_does_not_run_for_the_first_time(done, change):
    shutil.rmtree(folder_of(done, "dpo"))
    assert told(recipe(done, dpo=change))["dpo"] == "run: its folder is gone"


def test_a_deleted_folder_is_missed_beside_one_of_other_settings(done):
    run(recipe(done, dpo={"beta": 0.2}))
    shutil.rmtree(max(done.glob("run/dpo-*"), key=lambda folder: folder.stat().st_mtime))
    assert told(recipe(done, dpo={"beta": 0.2}))["dpo"] == "run: its folder is gone"


def test_an_interrupted_stage_resumes_from_its_last_whole_checkpoint(tmp_path, monkeypatch):
    given = recipe(tmp_path)
    step = make(given).steps[0]
    part = make(given).store.begin("sft", step.keyed.key)
    assert told(given)["sft"] == "resume: stopped before its first checkpoint"
    for number, whole in ((120, True), (130, False)):
        folder = part / "checkpoints" / f"checkpoint-{number}"
        folder.mkdir(parents=True)
        state = {"global_step": number, "max_steps": 300}
        (folder / "trainer_state.json").write_text(json.dumps(state))
        if whole:
            (folder / "whole").touch()
    assert told(given)["sft"] == "resume: stopped at step 120 of 300"


def test_a_run_that_was_moved_is_kept_and_knows_its_models(done):
    shutil.move(done / "run", done / "elsewhere")
    plan = make(recipe(done, output_dir=str(done / "elsewhere")))
    assert plan.done
    assert plan.steps[0].record.model_ref().adapter.is_relative_to(done / "elsewhere")


def test_everything_missing_is_told_at_once(tmp_path):
    given = recipe(tmp_path, base=Base(model="./nowhere"))
    broken = Sft(name="sft", data=Data(path="no.jsonl"))
    given = replace(given, stages=(broken, *given.stages[1:]))
    with pytest.raises(FinetuneError) as error:
        make(given)
    assert "2 problems" in str(error.value)
    assert "./nowhere" in str(error.value)
    assert "no.jsonl" in str(error.value)


def test_a_mistyped_built_in_base_gets_the_right_name(tmp_path):
    with pytest.raises(FinetuneError, match="tiny-mistral"):
        make(recipe(tmp_path, base=Base(model="tiny-mistal")))
