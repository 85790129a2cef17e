"""Keys: what changes a result changes the key, and nothing else does."""

import os
import shutil
import time
from dataclasses import replace

import pytest
from chain_fakes import recipe

from finetune.chain.fingerprint import Fingerprints
from finetune.chain.keys import digest, keys, plain
from finetune.recipe.judging import Judge, Rubric
from finetune.recipe.types import Base, Data, Dpo, Part, Score, Sft


def keys_of(given, folder):
    return {name: keyed.key for name, keyed in keys(given, Fingerprints(folder / "none")).items()}


def changed_stages(folder, before, after):
    old, new = keys_of(before, folder), keys_of(after, folder)
    return [name for name in new if old[name] != new[name]]


def with_stage(given, index, **changes):
    stages = list(given.stages)
    stages[index] = replace(stages[index], **changes)
    return replace(given, stages=tuple(stages))


def test_a_changed_setting_changes_its_stage_and_those_after_it(tmp_path):
    before, after = recipe(tmp_path), recipe(tmp_path, dpo={"beta": 0.2})
    assert changed_stages(tmp_path, before, after) == ["dpo", "evaluate", "merge"]


def test_a_stage_that_does_not_take_from_the_changed_one_keeps_its_key(tmp_path):
    models = ("base", "sft")
    before = recipe(tmp_path, models=models)
    after = recipe(tmp_path, models=models, dpo={"beta": 0.2})
    assert changed_stages(tmp_path, before, after) == ["dpo", "merge"]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"base": {"dtype": "bfloat16"}},
        {"base": {"quantization": {"load_in_4bit": True}}},
        {"base": {"chat_template": "chatml"}},
    ],
)
def test_what_holds_for_the_whole_recipe_changes_every_key(tmp_path, change):
    before = recipe(tmp_path)
    if "base" in change:
        change = {"base": replace(before.base, **change["base"])}
    assert len(changed_stages(tmp_path, before, replace(before, **change))) == 4


def test_other_weights_under_the_same_path_change_every_key(tmp_path):
    given = recipe(tmp_path)
    (tmp_path / "base" / "model.safetensors").write_bytes(b"one")
    before = keys_of(given, tmp_path)
    (tmp_path / "base" / "model.safetensors").write_bytes(b"two")
    assert all(before[name] != key for name, key in keys_of(given, tmp_path).items())


def test_other_rows_in_the_same_file_change_the_key(tmp_path):
    given = recipe(tmp_path)
    before = keys_of(given, tmp_path)
    (tmp_path / "pairs.jsonl").write_text('{"a": 2}\n')
    after = keys_of(given, tmp_path)
    assert [name for name in after if after[name] != before[name]] == ["dpo", "evaluate", "merge"]


@pytest.mark.parametrize("of", ["mix", "glob"])
def test_every_source_of_several_counts_by_its_content(tmp_path, of):
    for name in ("1.jsonl", "2.jsonl"):
        (tmp_path / name).write_text('{"a": 1}\n')
    parts = tuple(Part(path=str(tmp_path / name)) for name in ("1.jsonl", "2.jsonl"))
    data = {"mix": Data(mix=parts), "glob": Data(path=str(tmp_path / "?.jsonl"))}[of]
    given = with_stage(recipe(tmp_path), 0, data=data)
    found = [keys_of(given, tmp_path)["sft"]]
    for name in ("1.jsonl", "2.jsonl"):
        (tmp_path / name).write_text(f'{{"a": "{name}"}}\n')
        found.append(keys_of(given, tmp_path)["sft"])
    if of == "glob":
        (tmp_path / "3.jsonl").write_text('{"a": 1}\n')
        found.append(keys_of(given, tmp_path)["sft"])
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("change", [{"weight": 2.0}, {"rows": 5}, {"few_shot": 0.5}])
def test_how_sources_are_mixed_changes_the_key(tmp_path, change):
    part = Part(path=str(tmp_path / "train.jsonl"))
    other = Part(path=str(tmp_path / "pairs.jsonl"))

    def key(*parts):
        return keys_of(with_stage(recipe(tmp_path), 0, data=Data(mix=parts)), tmp_path)["sft"]

    assert len({key(part, other), key(replace(part, **change), other), key(other, part)}) == 3


def test_the_run_and_everything_it_reads_can_be_moved(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    one = keys_of(recipe(first), tmp_path)
    shutil.copytree(first, second)
    assert keys_of(recipe(second), tmp_path) == one


def test_names_of_stages_are_no_result(tmp_path):
    before = recipe(tmp_path, models=("base",))
    after = with_stage(before, 0, name="first")
    assert list(keys_of(after, tmp_path).values()) == list(keys_of(before, tmp_path).values())


def test_from_counts_by_what_it_leads_to(tmp_path):
    before = recipe(tmp_path)
    assert changed_stages(tmp_path, before, with_stage(before, 1, from_="sft")) == []
    assert changed_stages(tmp_path, before, with_stage(before, 3, from_="sft")) == ["merge"]


def test_a_whole_number_is_the_same_with_and_without_a_point(tmp_path):
    before = recipe(tmp_path, sft={"num_train_epochs": 1})
    after = recipe(tmp_path, sft={"num_train_epochs": 1.0})
    assert changed_stages(tmp_path, before, after) == []


def test_a_field_that_is_left_out_may_be_added_to_the_types_later():
    assert digest(plain({"a": 1, "b": None})) == digest(plain({"a": 1}))


def test_lora_with_its_defaults_is_not_no_lora(tmp_path):
    before = recipe(tmp_path)
    assert "sft" in changed_stages(tmp_path, before, with_stage(before, 0, lora={}))


def test_a_newer_version_of_a_stage_changes_its_key(tmp_path, monkeypatch):
    given = recipe(tmp_path)
    before = keys_of(given, tmp_path)
    monkeypatch.setattr(Dpo, "version", Dpo.version + 1)
    assert keys_of(given, tmp_path)["dpo"] != before["dpo"]
    assert keys_of(given, tmp_path)["sft"] == before["sft"]


def test_a_newer_version_of_a_task_changes_the_stages_that_use_it(tmp_path, monkeypatch):
    from finetune.tasks import TASKS

    given = recipe(tmp_path)
    data = Data(path=str(tmp_path / "train.jsonl"), task="samsum")
    given = replace(given, stages=(Sft(name="sft", data=data), given.stages[1]))
    before = keys_of(given, tmp_path)
    monkeypatch.setitem(TASKS, "samsum", replace(TASKS["samsum"], version=99))
    assert keys_of(given, tmp_path)["sft"] != before["sft"]


def test_a_hub_base_counts_by_its_id_and_revision(tmp_path):
    before = recipe(tmp_path, base=Base(model="org/model"))
    other = recipe(tmp_path, base=Base(model="org/model", revision="abc"))
    assert len(changed_stages(tmp_path, before, other)) == 4


def test_a_file_is_hashed_once_and_again_when_it_changes(tmp_path, monkeypatch):
    file, cache = tmp_path / "rows.jsonl", tmp_path / "cache.json"
    file.write_text("one")
    os.utime(file, (time.time() - 60, time.time() - 60))
    prints = Fingerprints(cache)
    first = prints.of(file)
    prints.save()
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert Fingerprints(cache).of(file) == first
    monkeypatch.undo()
    file.write_text("two")
    assert Fingerprints(cache).of(file) != first


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"a": '])
def test_a_damaged_cache_of_hashes_is_a_miss(tmp_path, damage):
    (tmp_path / "cache.json").write_text(damage)
    (tmp_path / "rows.jsonl").write_text("one")
    assert len(Fingerprints(tmp_path / "cache.json").of(tmp_path / "rows.jsonl")) == 64


def judged(folder, judge, **more):
    given = recipe(folder)
    stage = given.stages[2]
    score = Score(
        task="judge", data=stage.tasks[0].data, judge=Judge(**judge), rubric=Rubric(name="stories")
    )
    return with_stage(given, 2, tasks=(replace(score, **more),))


REMOTE = {"model": "m", "endpoint": "http://localhost:1/v1"}


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"timeout": 5.0}, False),
        ({"concurrency": 9}, False),
        ({"api_key_env": "A_KEY"}, False),
        ({"model": "another"}, True),
        ({"endpoint": "http://localhost:2/v1"}, True),
        ({"max_tokens": 9}, True),
    ],
)
def test_how_a_judge_is_reached_is_no_result(tmp_path, change, counts):
    before, after = judged(tmp_path, REMOTE), judged(tmp_path, {**REMOTE, **change})
    assert bool(changed_stages(tmp_path, before, after)) == counts


def test_a_judge_on_this_machine_counts_by_its_content(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    one, two = (judged(tmp_path, {"model": str(tmp_path / name)}) for name in ("one", "two"))
    assert changed_stages(tmp_path, one, two) == []
    (tmp_path / "two" / "config.json").write_text('{"a": 1}')
    assert changed_stages(tmp_path, one, two) == ["evaluate"]
