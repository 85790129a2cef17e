"""Recipes as texts for the tests of `finetune.recipe`, and what is said about them."""

import textwrap

from finetune.errors import RecipeError
from finetune.recipe import load

SFT = """\
base: {model: tiny-mistral}
stages:
  - sft: {data: rows.jsonl, lora: {}}
"""


def write(tmp_path, text, name="recipe.yaml"):
    file = tmp_path / name
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return file


def loaded(tmp_path, text, *changes):
    return load(write(tmp_path, text), changes)


def found(tmp_path, text, *changes):
    """(line, message) of each problem, in the order of the lines."""
    try:
        loaded(tmp_path, text, *changes)
    except RecipeError as error:
        return sorted((each.line, each.message) for each in error.problems)
    return []


def said(tmp_path, text, *changes):
    """The one message about a recipe with one mistake; empty for a recipe without."""
    problems = found(tmp_path, text, *changes)
    assert len(problems) < 2, problems
    return problems[0][1] if problems else ""
