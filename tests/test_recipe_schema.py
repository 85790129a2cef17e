"""The JSON Schema of recipes: it takes what the loader takes and names what the loader names."""

import ast
import json
import subprocess
import sys

import pytest
from recipe_text import SFT, write

from finetune.embedded import recipe_folder
from finetune.recipe.parse import parse
from finetune.recipe.places import allowed
from finetune.recipe.problems import Problems
from finetune.recipe.schema import schema
from finetune.recipe.tree import plain

RECIPES = sorted(recipe_folder().rglob("*.yaml"))
SCHEMA = schema()
KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}


def is_kind(value, kind):
    return isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def fits(value, rule):
    """The part of JSON Schema that the schema of recipes uses."""
    kinds = rule.get("type", list(KINDS))
    tests = [
        any(is_kind(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)),
        "const" not in rule or value == rule["const"],
        "enum" not in rule or value in rule["enum"],
        "anyOf" not in rule or any(fits(value, each) for each in rule["anyOf"]),
        "oneOf" not in rule or sum(fits(value, each) for each in rule["oneOf"]) == 1,
    ]
    if isinstance(value, dict):
        known, others = rule.get("properties", {}), rule.get("additionalProperties", True)
        tests += [key in value for key in rule.get("required", ())]
        for key, inner in value.items():
            if key in known:
                tests.append(fits(inner, known[key]))
            else:
                tests.append(others is True or (others is not False and fits(inner, others)))
    if isinstance(value, list):
        tests += [fits(item, rule.get("items", {})) for item in value]
        tests.append(len(value) >= rule.get("minItems", 0))
    if is_kind(value, "number"):
        tests += [value >= rule.get("minimum", value), value <= rule.get("maximum", value)]
        tests.append("exclusiveMinimum" not in rule or value > rule["exclusiveMinimum"])
        tests.append("exclusiveMaximum" not in rule or value < rule["exclusiveMaximum"])
    return all(tests)


def read(text):
    return plain(parse(text, "recipe", Problems()))


@pytest.mark.parametrize("file", RECIPES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_recipe_that_ships_fits_the_schema(file):
    assert fits(read(file.read_text(encoding="utf-8")), SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        SFT.replace("lora: {}", "loar: {}"),
        SFT.replace("lora: {}", "lora: {rank: 4}"),
        SFT.replace("lora: {}", "lora: {r: 0}"),
        SFT.replace("lora: {}", "lora: {r: x}"),
        SFT.replace("lora: {}", "lora: {init_lora_weights: pisa}"),
        SFT.replace("lora: {}", "lora: {}, train: {padding_free: true}"),
        SFT.replace("lora: {}", "lora: {}, batch_size: 0"),
        SFT.replace("sft", "stf"),
        SFT.replace("data: rows.jsonl, ", ""),
        SFT.replace("tiny-mistral", "tiny-mistral, dtype: fp16"),
        SFT + "sed: 1\n",
        "base: {model: x}\n",
    ],
)
def test_a_mistake_that_an_editor_can_show_does_not_fit_the_schema(text):
    assert fits(read(SFT), SCHEMA)
    assert not fits(read(text), SCHEMA)


def test_the_schema_offers_exactly_the_fields_that_the_loader_takes():
    train = SCHEMA["properties"]["dpo"]["properties"]["train"]["properties"]
    assert set(train) == set(allowed("DPOConfig", "dpo"))
    assert train["beta"] == {"type": "number", "exclusiveMinimum": 0, "default": 0.1}


def test_the_schema_carries_the_comments_of_the_types_and_is_plain_json():
    model = SCHEMA["properties"]["base"]["properties"]["model"]
    assert model["description"] == "a built-in name, a folder, or a hub id"
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("file", RECIPES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_recipe_that_ships_is_a_python_program_that_runs_itself(file):
    statements = ast.parse(file.read_text(encoding="utf-8")).body
    assert [type(each).__name__ for each in statements] == ["AnnAssign", "ImportFrom", "Expr"]
    assert ast.unparse(statements[-1]) == "run(__file__)"


def test_a_mistyped_recipe_is_told_without_a_library_being_imported(tmp_path):
    file = write(tmp_path, SFT.replace("lora", "loar"))
    code = (
        "import sys\n"
        "from finetune.recipe import load\n"
        "try:\n    load(sys.argv[1])\n"
        "except Exception as error:\n    sys.stderr.write(str(error))\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'numpy'}\n"
        "sys.exit(bool(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "did you mean 'lora'?" in done.stderr) == (0, True)
