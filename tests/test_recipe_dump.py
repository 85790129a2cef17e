"""A recipe written back as YAML is the same recipe."""

from pathlib import Path

import pytest

from finetune.recipe import load
from finetune.recipe.dump import as_yaml, plain

RECIPES = sorted((Path(__file__).parents[1] / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_what_is_written_back_is_read_as_the_same_recipe(file, tmp_path):
    recipe = load(file)
    again = tmp_path / "again.yaml"
    again.write_text(as_yaml(plain(recipe)), encoding="utf-8")
    assert load(again) == recipe


def test_defaults_are_left_out(tmp_path):
    file = tmp_path / "small.yaml"
    text = "name: small\nbase: {model: tiny-mistral}\nstages: [sft: {data: {task: samsum}}]\n"
    file.write_text(text)
    assert plain(load(file)) == {
        "name": "small",
        "seed": 42,
        "base": {"model": "tiny-mistral"},
        "stages": [{"sft": {"data": {"task": "samsum"}}}],
        "output_dir": "runs/small",
    }
