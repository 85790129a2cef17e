"""The command line: what it prints where, its exit codes, and what it does without."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import chain_fakes
import pytest
from chain_fakes import recipe

from finetune import cli
from finetune.commands import command
from finetune.errors import Problem, RecipeError

SOURCE = Path(__file__).parents[1] / "src"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE)}
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "numpy"}


@pytest.fixture
def given(tmp_path, monkeypatch):
    """`finetune COMMAND x.yaml` means the fake recipe; changes are those of its dpo stage."""
    chain_fakes.use(monkeypatch)

    def load(parsed):
        changes = dict(each.split("=") for each in getattr(parsed, "changes", ()))
        return recipe(tmp_path, dpo=changes)

    monkeypatch.setattr(command, "_load", load)
    return tmp_path


def ends(*arguments):
    """The exit code of a command."""
    try:
        cli.main(arguments)
    except SystemExit as end:
        return end.code or 0
    return 0


def finetune(*arguments, **more):
    command = [sys.executable, "-m", "finetune", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=ENVIRONMENT, check=False, **more
    )


def test_without_arguments_it_prints_help(capsys):
    assert ends() == 0
    assert "first steps" in capsys.readouterr().out


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_help_with_examples(name, capsys):
    assert ends(name, "--help") == 0
    out = capsys.readouterr().out
    assert f"finetune {name}" in out.split("examples:")[1]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("rnu", "did you mean 'run'?"),
        ("shwo", "did you mean 'show'?"),
        ("my.yaml", "did you mean 'finetune run my.yaml'?"),
        ("xyz", "there are run, plan, check, "),
    ],
)
def test_a_mistyped_command_gets_the_right_one(word, hint, capsys):
    assert ends(word) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["run"], ["run", "x", "--nope"], ["schema", "a=1"]])
def test_wrong_usage_ends_with_2_and_points_to_the_help(arguments, capsys):
    assert ends(*arguments) == 2
    assert "--help" in capsys.readouterr().err


def test_the_table_goes_to_standard_output_and_messages_do_not(given, capsys):
    assert ends("run", "x.yaml") == 0
    out, err = capsys.readouterr()
    assert "sft: done in" in err
    assert "done in" not in out
    assert out.index("loss (1)") < out.index("what it says of itself") < out.index("next")


def test_changed_keys_may_stand_on_both_sides_of_an_option(given, capsys):
    assert ends("run", "x.yaml") == 0
    assert ends("run", "x.yaml", "--plan", "beta=2") == 0
    assert "dpo.train.beta unset -> 2" in capsys.readouterr().out
    assert ends("run", "x.yaml", "beta=3", "--plan") == 0
    assert "dpo.train.beta unset -> 3" in capsys.readouterr().out


def test_plan_shows_and_runs_nothing(given, capsys):
    assert ends("plan", "x.yaml") == 0
    assert "run: first time" in capsys.readouterr().out
    assert not (given / "run").exists()


def test_check_says_ok_or_all_that_is_missing(given, capsys):
    assert ends("check", "x.yaml") == 0
    assert capsys.readouterr().out == (
        "ok: 4 stages (sft, dpo, evaluate, merge); finetune audit reads the rows\n"
    )


def test_show_prints_the_table_and_one_stage_in_full(given, capsys):
    ends("run", "x.yaml")
    capsys.readouterr()
    assert ends("show", "x.yaml") == 0
    assert "kept" in capsys.readouterr().out
    assert ends("show", "x.yaml", "dpo") == 0
    out = capsys.readouterr().out
    assert "transformers" in out
    assert "batch_size" in out
    assert re.search(r"rows from\n  data +\S*pairs.jsonl\n", out)


@pytest.mark.parametrize("command", ["report", "score", "clean"])
def test_what_is_neither_a_run_folder_nor_a_recipe_is_told_as_neither(given, capsys, command):
    assert ends(command, "runs/nowhere") == 1
    assert "no such run folder, and no such recipe" in capsys.readouterr().err
    assert ends(command, "nowhere.yaml") == 1
    assert "no such run folder, and" not in capsys.readouterr().err


def test_show_tells_a_wrong_stage_and_one_that_is_not_done(given, capsys):
    assert ends("show", "x.yaml", "dop") == 1
    assert "Did you mean 'dpo'?" in capsys.readouterr().err
    assert ends("show", "x.yaml", "dpo") == 1
    assert "not done (run: first time)" in capsys.readouterr().err


def test_show_takes_the_changes_that_the_run_was_given(given, capsys):
    assert ends("run", "x.yaml", "beta=3") == 0
    for order in (["beta=3"], ["dpo", "beta=3"], ["beta=3", "dpo"]):
        capsys.readouterr()
        assert ends("show", "x.yaml", *order) == 0, order
        assert "missing" not in capsys.readouterr().out
    assert ends("show", "x.yaml", "dpo") == 1


def test_only_the_recipe_is_called_required(capsys):
    assert ends("run") == 2
    assert "required: RECIPE\n" in capsys.readouterr().err


def test_an_error_is_a_message_without_a_traceback_and_ends_with_1(given, capsys):
    assert ends("run", "x.yaml", "act=data") == 1
    out, err = capsys.readouterr()
    assert "dpo stopped: pairs.jsonl line 3" in err
    assert "Traceback (" not in err
    assert out == ""


def test_all_problems_of_a_recipe_are_printed(monkeypatch, capsys):
    def load(parsed):
        raise RecipeError([Problem("one", "a.yaml", 3), Problem("two", "a.yaml", 5)])

    monkeypatch.setattr(command, "_load", load)
    assert ends("check", "a.yaml") == 1
    assert capsys.readouterr().err == "a.yaml: 2 problems\n  line 3: one\n  line 5: two\n"


def test_ctrl_c_ends_with_130(monkeypatch, capsys):
    def load(parsed):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_load", load)
    assert ends("run", "a.yaml") == 130
    assert "stopped" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_recipe_file_that_a_child_process_imports_runs_nothing_there(tmp_path, method):
    file = tmp_path / "x.yaml"
    file.write_text(
        "import multiprocessing, os, sys\n"
        "from finetune import cli, run\n"
        "cli.main = lambda arguments: start()\n"
        "def start():\n"
        "    print('ran', flush=True)\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    child = context.Process(target=work)\n"
        "    child.start(); child.join()\n"
        "def work():\n"
        "    run(__file__)\n"
        "    print('worked', flush=True)\n"
        "run(__file__)\n"
    )
    done = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert done.stdout == "ran\nworked\n", done.stderr


def test_a_recipe_file_runs_with_the_command_line_behind_it(monkeypatch):
    seen = []
    monkeypatch.setattr(cli, "main", seen.append)
    monkeypatch.setattr(sys, "argv", ["x.yaml", "seed=1"])
    cli.run_file("x.yaml")
    assert seen == [["run", "x.yaml", "seed=1"]]


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], []])
def test_a_reader_that_stops_reading_is_no_error(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "finetune", *arguments]
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False
    )
    os.close(writer)
    assert (done.stderr, done.returncode) == ("", 0)


def test_help_imports_nothing_heavy():
    done = finetune("--help")
    assert "COMMAND" in done.stdout
    code = (
        "import sys, contextlib, io, finetune.cli as c, finetune.chain.run, finetune.report.table\n"
        "with contextlib.redirect_stdout(io.StringIO()): c.main([])\n"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True
    )
    assert done.stdout == "[]\n"


def test_a_kept_run_answers_without_importing_anything_heavy(given, capsys, monkeypatch):
    ends("run", "x.yaml")
    for name in HEAVY:
        monkeypatch.setitem(sys.modules, name, None)  # to import it raises an error
    assert ends("run", "x.yaml") == 0
    assert "kept" in capsys.readouterr().out


def test_schema_prints_json_or_writes_it(tmp_path, capsys):
    assert ends("schema") == 0
    assert json.loads(capsys.readouterr().out)["type"] == "object"
    assert ends("schema", "--out", str(tmp_path / "s.json")) == 0
    assert json.loads((tmp_path / "s.json").read_text())["type"] == "object"
    assert ends("schema", "--out", str(tmp_path / "no" / "s.json")) == 1
