"""Every shipped recipe loads, plans, and does in small what it does in full."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from finetune.recipe import load

FOLDER = Path(__file__).parents[1] / "recipes"
ALL = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml"))
LARGE = [name for name in ALL if "7b" in name]
SMALL = {
    "sft": ["data.rows=12", "batch_size=4", "train.num_train_epochs=null", "train.max_steps=2"],
    "dpo": ["data.rows=8", "batch_size=4", "train.num_train_epochs=null", "train.max_steps=1"],
    "pretrain": ["data.rows=400", "batch_size=2", "train.num_train_epochs=null"],
    "merge": [],
    "export": ["prompts=2"],
    "evaluate": ["generation.max_new_tokens=8"],
}


def few(tasks):
    """The same tasks on four rows each, as a value on the command line."""
    return json.dumps([{**written(asdict(score)), "rows": 4} for score in tasks])


def written(block):
    """What of a block was given: no defaults, none of the empty."""
    given = {key: written(v) if isinstance(v, dict) else v for key, v in block.items()}
    return {key: value for key, value in given.items() if value not in (None, "", {})}


def small(name, folder):
    """The recipe cut down by overrides as a user would give them."""
    recipe = load(FOLDER / name)
    changes = [f"{s.name}.{change}" for s in recipe.stages for change in SMALL[s.kind]]
    changes += [f"{s.name}.train.max_steps=2" for s in recipe.stages if s.kind == "pretrain"]
    changes += [f"{s.name}.tasks={few(s.tasks)}" for s in recipe.stages if s.kind == "evaluate"]
    changes.append(f"output_dir={folder}")
    return load(FOLDER / name, changes)


def test_there_are_recipes_for_every_promise():
    assert {"samsum.yaml", "sft_samsum.yaml", "text_to_sql.yaml"} <= set(ALL)
    assert {"pretrain_tiny_mistral.yaml", "pretrain_tiny_mpt.yaml"} <= set(ALL)
    assert any(name.startswith("mistral-7b/") for name in LARGE)
    assert any(name.startswith("mpt-7b/") for name in LARGE)


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_loads_and_plans(name, tmp_path):
    from finetune.chain.plan import make

    recipe = load(FOLDER / name, [f"output_dir={tmp_path}"])
    plan = make(recipe)
    assert [step.status for step in plan.steps] == ["run"] * len(recipe.stages)


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_is_a_program_that_runs_itself(name, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("finetune.cli.run_file", calls.append)
    path = FOLDER / name
    code = compile(path.read_text(encoding="utf-8"), str(path), "exec")
    exec(code, {"__file__": str(path), "__name__": "__main__"})
    assert calls == [str(path)]
    assert path.stat().st_mode & 0o111, "./recipes/x.yaml needs the executable bit"


@pytest.mark.parametrize("name", LARGE)
def test_a_large_recipe_asks_for_a_4_bit_base_in_a_few_lines(name):
    recipe = load(FOLDER / name)
    assert recipe.base.quantization["load_in_4bit"] is True
    assert len((FOLDER / name).read_text().splitlines()) <= 12


@pytest.mark.heavy
@pytest.mark.parametrize("name", [name for name in ALL if name not in LARGE])
def test_a_recipe_runs_in_small_and_is_kept_the_second_time(name, tmp_path):
    from finetune.chain.run import run

    recipe = small(name, tmp_path / "run")
    first = run(recipe)
    assert list(first.ran) == [stage.name for stage in recipe.stages]
    for stage in recipe.stages:
        record = first.records[stage.name]
        assert record.facts or record.scores
    assert run(recipe).ran == ()
