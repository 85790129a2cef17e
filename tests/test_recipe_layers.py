"""Recipes laid over one another: `extends`, stages by name, the command line."""

import pytest
from recipe_text import SFT, found, loaded, said, write

from finetune.errors import RecipeError
from finetune.recipe import load

PARENT = """\
name: parent
base: {model: tiny-mistral, revision: abc}
stages:
  - sft: {data: rows.jsonl, lora: {r: 4, lora_alpha: 8}, train: {max_length: 64}}
  - dpo: {data: pairs.jsonl, train: {beta: 0.1, learning_rate: 1e-5}}
  - evaluate: {tasks: [samsum]}
"""


def child(tmp_path, text, *changes):
    write(tmp_path, PARENT, "parent.yaml")
    (tmp_path / "sub").mkdir(exist_ok=True)
    file = write(tmp_path / "sub", f"extends: ../parent.yaml\n{text}", "child.yaml")
    return load(file, changes)


def test_a_child_without_changes_is_its_parent(tmp_path):
    assert child(tmp_path, "") == load(tmp_path / "parent.yaml")


def test_a_mapping_changes_only_the_keys_it_holds(tmp_path):
    base = child(tmp_path, "base: {model: other}").base
    assert (base.model, base.revision) == ("other", "abc")


def test_the_name_of_a_stage_changes_that_stage_alone(tmp_path):
    recipe = child(tmp_path, "dpo: {train: {beta: 0.2}}\n")
    assert recipe.stages[1].train == {"beta": 0.2, "learning_rate": 1e-5}
    assert recipe.stages[0].train == {"max_length": 64}


def test_stages_given_again_replace_the_list(tmp_path):
    recipe = child(tmp_path, "stages: [{sft: {data: x.jsonl, lora: {}}}]\nsft: {batch_size: 2}\n")
    assert [(stage.name, stage.batch_size) for stage in recipe.stages] == [("sft", 2)]


def test_a_chain_of_recipes_applies_from_the_farthest_to_the_nearest(tmp_path):
    write(tmp_path, PARENT, "parent.yaml")
    write(tmp_path, "extends: parent.yaml\nseed: 1\nname: middle\n", "middle.yaml")
    recipe = load(write(tmp_path, "extends: middle.yaml\nseed: 2\n", "last.yaml"))
    assert (recipe.seed, recipe.name) == (2, "middle")


def test_a_shipped_recipe_can_be_extended_by_its_name(tmp_path):
    assert loaded(tmp_path, "extends: samsum\nname: mine\n").name == "mine"


def test_recipes_that_extend_each_other_are_refused(tmp_path):
    write(tmp_path, "extends: b.yaml\n", "a.yaml")
    file = write(tmp_path, "extends: a.yaml\n", "b.yaml")
    with pytest.raises(RecipeError, match=r"without end: b\.yaml -> a\.yaml -> b\.yaml"):
        load(file)


def test_a_missing_parent_is_the_only_problem_told(tmp_path):
    write(tmp_path, PARENT, "parent.yaml")
    [(line, message)] = found(tmp_path, "seed: 1\nextends: parnet.yaml\n")
    assert line == 2
    assert "did you mean" in message and "parent.yaml" in message


def test_a_mistake_is_told_with_the_file_and_line_it_stands_on(tmp_path):
    write(tmp_path, PARENT.replace("beta", "bta"), "parent.yaml")
    with pytest.raises(RecipeError) as caught:
        load(write(tmp_path, "extends: parent.yaml\nseeed: 1\n"), ["sft.lora.rr=3"])
    told = {(each.source.rpartition("/")[2], each.line) for each in caught.value.problems}
    assert told == {("parent.yaml", 5), ("recipe.yaml", 2), ("command line", 0)}


def test_null_takes_away_what_was_inherited(tmp_path):
    recipe = child(tmp_path, "base: {revision: null}\nevaluate: null\nsft: {lora: {r: null}}\n")
    assert recipe.base.revision is None
    assert [stage.name for stage in recipe.stages] == ["sft", "dpo"]
    assert recipe.stages[0].lora == {"lora_alpha": 8}


def test_null_for_a_key_that_nothing_set_leaves_the_default(tmp_path):
    assert loaded(tmp_path, SFT, "seed=null", "sft.batch_size=null").stages[0].batch_size == 32


def test_null_makes_room_for_a_key_that_excludes_another(tmp_path):
    text = SFT.replace("lora: {}", "batch_size: 8, lora: {}")
    assert text != SFT
    stage = loaded(tmp_path, text, "sft.batch_size=null", "sft.batch_tokens=4096").stages[0]
    assert (stage.batch_size, stage.batch_tokens) == (32, 4096)


def test_null_is_a_value_where_the_field_takes_it(tmp_path):
    assert child(tmp_path, "", "sft.train.max_length=null").stages[0].train == {"max_length": None}


def test_a_path_written_short_takes_further_keys(tmp_path):
    data = child(tmp_path, "", "sft.data.rows=5").stages[0].data
    assert (data.path, data.rows) == ("rows.jsonl", 5)


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ("base.model=org/a=b", lambda r: r.base.model == "org/a=b"),
        ("seed=7", lambda r: r.seed == 7),
        ("name=no", lambda r: r.name == "no"),
        ("sft.train.learning_rate=2e-4", lambda r: r.stages[0].train["learning_rate"] == 2e-4),
        (
            "sft.lora.target_modules=[q,v]",
            lambda r: r.stages[0].lora["target_modules"] == ["q", "v"],
        ),
        ("sft.lora={r: 2}", lambda r: r.stages[0].lora == {"r": 2}),
    ],
)
def test_a_change_is_yaml_behind_the_first_equals_sign(tmp_path, change, read):
    assert read(loaded(tmp_path, SFT, change))


def test_the_last_of_two_changes_counts(tmp_path):
    assert loaded(tmp_path, SFT, "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sft.train.bta=1", "sft.train.bta: no such field in SFTConfig"),
        ("dpoo.train.beta=1", "dpoo: no such key, and no stage of this name"),
        ("sft.lora.r", "is no change; write KEY=VALUE"),
        ("=3", "is no change; write KEY=VALUE"),
        ("sft..r=3", "is no change; write KEY=VALUE"),
        ("extends=x.yaml", "extends: belongs into a file"),
        ("sft.lora.target_modules=[q", "not closed"),
        ("seed=", "seed: has no value"),
    ],
)
def test_a_mistake_in_a_change_is_told_without_a_line(tmp_path, change, message):
    assert message in said(tmp_path, SFT, change)
    assert found(tmp_path, SFT, change)[0][0] == 0


def test_the_environment_is_put_into_the_model_and_the_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", "/somewhere")
    recipe = loaded(
        tmp_path, SFT, "base.model=${PLACE}/m", "sft.data.path=${PLACE}/x", "output_dir=${PLACE}"
    )
    assert recipe.base.model == "/somewhere/m"
    assert recipe.stages[0].data.path == "/somewhere/x"
    assert recipe.output_dir == "/somewhere"


def test_a_variable_that_is_not_set_or_not_replaced_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("PLACE", raising=False)
    assert "the environment has no PLACE" in said(tmp_path, SFT, "base.model=${PLACE}/m")
    assert "is replaced only in" in said(tmp_path, SFT, "sft.data.split=${PLACE}")


def test_null_takes_away_a_name_and_the_files_own_takes_its_place(tmp_path):
    assert child(tmp_path, "name: null\n").name == "child"
    text = PARENT.replace("{data: rows", "{name: first, data: rows")
    assert loaded(tmp_path, text, "first.name=null").stages[0].name == "sft"


def test_a_recipe_without_a_name_is_called_after_its_file(tmp_path):
    recipe = load(write(tmp_path, SFT, "mine.yaml"))
    assert (recipe.name, recipe.output_dir) == ("mine", "runs/mine")


def test_one_item_of_a_list_can_be_changed_from_the_command_line(tmp_path):
    recipe = child(tmp_path, "", "evaluate.tasks[0].rows=7", "sft.lora.target_modules=[a, b]")
    assert (recipe.stages[2].tasks[0].task, recipe.stages[2].tasks[0].rows) == ("samsum", 7)
    again = child(tmp_path, "", "sft.lora.target_modules=[a, b]", "sft.lora.target_modules[1]=c")
    assert again.stages[0].lora["target_modules"] == ["a", "c"]


def test_an_item_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"tasks: must be a list"):
        child(tmp_path, "", "evaluate.tasks[3].rows=7")
