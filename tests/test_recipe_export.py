"""What a recipe may ask of an export."""

import pytest
from recipe_text import loaded, said

from finetune.recipe.write import to_yaml

BASE = "base: {model: tiny-mistral}\nstages:\n"
SFT = "sft: {data: a.jsonl, lora: {}}"


def recipe(*rows):
    return "name: tiny\n" + BASE + "".join(f"  - {row}\n" for row in rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([SFT, "export"], "'safetensors' holds a whole model: put a merge stage between"),
        ([SFT, "export: {formats: [gguf]}"], "export `formats: [adapter]` of 'sft'"),
        (["export: {formats: [adapter]}"], "there is no adapter"),
        (["export: {formats: []}"], "name one or more"),
        (["export: {formats: [gguf, gguf]}"], "stands there twice"),
        (["export: {formats: [gguf], gguf: [f16, f16]}"], "stands there twice"),
        (["export: {gguf: [q8_0]}"], "only with `gguf` among the formats"),
        (["export: {formats: [ollama]}"], "describes a GGUF file: add `gguf`"),
        (["export: {formats: [gguf], gguf: [q4_K_M]}"], "no such choice: 'q4_K_M'"),
        (["export: {private: false}"], "only with `push`"),
        (["export: {push: model}"], "must be OWNER/NAME"),
        (["export: {prompts: 0}"], "must be 1 or more"),
        (["export: {card: {license_name: x}}"], "only with `license: other`"),
        (["export", "sft: {data: a.jsonl, from: export}"], "'export' exports and leaves no model"),
        (
            ["export", "evaluate: {tasks: [samsum], models: [export]}"],
            "'export' exports and leaves no model",
        ),
    ],
)
def test_an_export_that_cannot_be_is_refused(tmp_path, rows, message):
    assert message in said(tmp_path, recipe(*rows))


def test_a_quantised_base_is_not_exported_whole(tmp_path):
    text = recipe("export").replace("}\n", ", quantization: {load_in_4bit: true}}\n", 1)
    assert "take `base.quantization` out" in said(tmp_path, text)


@pytest.mark.parametrize(
    "rows",
    [
        ["export"],
        [SFT, "export: {formats: [adapter]}"],
        [SFT, "merge", "export: {formats: [safetensors, adapter, gguf, ollama, bnb4]}"],
        ["sft: {data: a.jsonl}", "export", "export: {name: b, formats: [gguf], gguf: [q4_0]}"],
        [SFT, "merge", "export", "sft: {name: more, data: a.jsonl, lora: {}}"],
    ],
)
def test_an_export_that_can_be_is_taken_and_written_out_again(tmp_path, rows):
    read = loaded(tmp_path, recipe(*rows))
    assert loaded(tmp_path, to_yaml(read)) == read
