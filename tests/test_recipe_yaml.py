"""YAML to a recipe: numbers, truth values, keys written twice, and files that are no recipe."""

import pytest
from recipe_text import SFT, found, loaded, said, write

from finetune.errors import RecipeError
from finetune.recipe import find, load
from finetune.recipe.parse import resolve

CLOSING = "#'''; from finetune import run; run(__file__)\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("1e5", 1e5),
        ("1.", 1.0),
        (".5", 0.5),
        ("+3", 3),
        ("0x10", 16),
        ("0o17", 15),
        ("017", 17),
        ("true", True),
        ("~", None),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
    ],
)
def test_a_value_without_quotes_means_what_yaml_1_2_says(text, value):
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_a_number_with_an_exponent_reaches_the_library_as_a_number(tmp_path):
    train = loaded(tmp_path, SFT, "sft.train.learning_rate=2e-4").stages[0].train
    assert train == {"learning_rate": 0.0002}


def test_a_key_written_twice_is_refused_with_both_lines(tmp_path):
    assert found(tmp_path, f"seed: 1\n{SFT}seed: 2\n") == [
        (5, "`seed` is written twice (first on line 1)")
    ]


@pytest.mark.parametrize("text", ["no", "yes", "on", "1e5", "0123", "12:30", "2024-01-01", "true"])
def test_a_text_field_keeps_the_text_as_it_was_written(tmp_path, text):
    recipe = loaded(tmp_path, SFT, "base.model=org/model", f"base.revision={text}")
    assert recipe.base.revision == text


@pytest.mark.parametrize(("text", "meant"), [("yes", "true"), ("no", "false"), ("on", "true")])
def test_a_truth_value_is_true_or_false_only_and_the_message_says_which(tmp_path, text, meant):
    message = said(tmp_path, SFT, f"sft.lora.use_dora={text}")
    assert message == f"sft.lora.use_dora: must be true or false, got '{text}'; write {meant}"


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("base:\n\tmodel: x\n", 2, "a tab"),
        ("base:\n  model: x\n dtype: y\n", 3, "indentation"),
        ("base: {model: x\nseed: 2\n", 2, "indentation fits no line above, or a bracket"),
        ("base: a: b\n", 1, "second `: `"),
        ("seed: 1\nname: 'a\nbase: b\n", 2, "never closed"),
        ("", 1, "is empty"),
        ("# nothing\n", 1, "is empty"),
        ("- sft\n", 1, "holds a list"),
        ("just words\n", 1, "holds 'just words'"),
        ("base: !!python/object:os.system {}\n", 1, "the tag !!python/object:os.system"),
        ("base: !own x\n", 1, "the tag !own"),
        ("base: *x\n", 1, "no anchor &x"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("a: \x01\n", 1, "control characters"),
        ("? [a]\n: 1\n", 1, "a key must be a name"),
    ],
)
def test_a_file_that_is_no_recipe_gets_one_clear_message(tmp_path, text, line, part):
    [(at, message)] = found(tmp_path, text)
    assert (at, part in message) == (line, True), message


def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_bytes(b"seed: 1\nname: caf\xe9\n")
    with pytest.raises(RecipeError, match="line 2: not UTF-8"):
        load(file)


def test_a_byte_order_mark_does_no_harm(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + SFT.encode())
    assert load(file).base.model == "tiny-mistral"


def test_anchors_and_merge_keys_work_and_the_own_key_wins(tmp_path):
    text = """\
    base: {model: tiny-mistral}
    stages:
      - sft: {data: a.jsonl, lora: {}, train: &common {learning_rate: 1e-3, max_length: 64}}
      - dpo: {data: b.jsonl, train: {<<: *common, max_length: 32}}
    """
    train = loaded(tmp_path, text).stages[1].train
    assert train == {"learning_rate": 0.001, "max_length": 32}


def test_aliases_that_grow_without_bound_are_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "endless" in said(tmp_path, "\n".join(lines))


def test_a_key_without_a_value_is_not_taken_for_a_default(tmp_path):
    text = SFT.replace("lora: {}", "lora: ")
    assert said(tmp_path, text) == "sft.lora: has no value; write one, or remove the line"


def test_the_line_for_python_is_taken_and_ignored(tmp_path):
    assert loaded(tmp_path, f"#!/usr/bin/env x\nlaunch: r'''  # why\n{SFT}{CLOSING}").seed == 42


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        (f"launch: r'''\n{SFT}", 4, "the last line must be"),
        (f"launch: yes\n{SFT}{CLOSING}", 1, "takes only r'''"),
        (f"launch: r'''\n# it's '''odd'''\n{SFT}{CLOSING}", 2, "''' ends the text"),
        (f"seed: 1\nlaunch: r'''\n{SFT}{CLOSING}", 2, "must be the first key"),
    ],
)
def test_a_header_that_python_could_not_run_is_refused(tmp_path, text, line, part):
    [(at, message)] = found(tmp_path, text)
    assert (at, part in message) == (line, True), message


@pytest.mark.parametrize("name", ["samsum", "mistral-7b/samsum", "samsum.yaml"])
def test_a_recipe_that_ships_is_found_by_its_name(name):
    assert find(name).stem == "samsum"
    assert find(name).parent.name == ("mistral-7b" if "/" in name else "recipes")


def test_a_mistyped_file_gets_near_names_and_the_shipped_ones(tmp_path):
    write(tmp_path, SFT, "mine.yaml")
    with pytest.raises(RecipeError, match=r"did you mean '.*mine\.yaml'\?"):
        find(str(tmp_path / "mien.yaml"))
    with pytest.raises(RecipeError, match=r"did you mean 'samsum'\?\n +shipped: .*text_to_sql"):
        find("sansum")
    with pytest.raises(RecipeError, match=r"a folder; name a recipe file in it; it holds mine"):
        load(tmp_path)
