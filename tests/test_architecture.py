"""The rooms of the package: which may import which, what stays light, how large a file gets."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "finetune"
FILES = sorted(p for p in SOURCE.rglob("*.py") if "assets" not in p.parts)

# What a room may import. `errors` and `ranks` are free for all; a room may import itself.
FREE = {"errors", "ranks", "console", "embedded", "garbage", "sizes", "sums"}
ROOMS = {
    "errors": set(),
    "ranks": set(),
    "console": set(),
    "embedded": set(),
    "garbage": set(),
    "sizes": set(),
    "sums": set(),
    "recipe": set(),
    "job": {"recipe"},
    "metrics": set(),
    "data": {"recipe"},
    "tasks": {"recipe", "data", "metrics"},
    "scoring": {"recipe", "tasks", "metrics"},
    "models": {"recipe", "job", "data", "tasks"},
    "export": {"recipe", "job", "data", "models"},
    "judging": {"recipe", "data", "models"},
    "memory": {"recipe", "models", "launch"},
    "stages": {
        *("recipe", "job", "data", "tasks", "metrics", "models", "scoring", "export", "judging"),
        "memory",
    },
    "audit": {"recipe", "data", "tasks", "models"},
    "launch": {"recipe"},
    "chain": {
        *("launch", "recipe", "job", "data", "tasks", "scoring", "stages", "audit", "memory"),
    },
    "report": {"recipe", "job", "tasks", "scoring", "chain"},
    "preview": {"recipe", "data", "tasks", "models", "report"},
    "selftest": {"recipe", "job", "data", "models", "stages", "chain"},
    "commands": {
        *("recipe", "job", "data", "tasks", "models", "stages", "chain", "report", "launch"),
        *("audit", "preview", "talk", "selftest", "memory"),
    },
    "talk": {"recipe", "job", "data", "models", "chain"},
    "cli": {"chain", "commands"},
    "__init__": {"cli"},
    "__main__": {"cli"},
}
HEAVY = {
    *("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes"),
    *("deepspeed", "evaluate", "tokenizers", "numpy"),
}
LIGHT = {
    "recipe",
    "chain",
    "commands",
    "cli",
    "report",
    "launch",
    "tasks",
    *FREE,
    "job",
    "__init__",
    "__main__",
}
LIGHT_FILES = {
    "memory/machine.py",
    "memory/parts.py",
    "talk/screen.py",
    "talk/target.py",
    "selftest/readings.py",
    "selftest/run.py",
    "preview/pieces.py",
    "preview/terminal.py",
    "preview/page.py",
    "data/locate.py",
    "stages/__init__.py",
    "metrics/__init__.py",
}
LONGEST = 300


def room(file):
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def name(file):
    return file.relative_to(SOURCE).as_posix()


def tree(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def imported(nodes):
    """Full names of imported modules and of what is taken from them."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_module_level(node):
    """Statements that run on import; functions wait until they are called."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_module_level(child)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_rooms_import_one_way(file):
    here = room(file)
    allowed = ROOMS[here] | FREE | {here}
    own = [each for each in imported(ast.walk(tree(file))) if each.startswith("finetune.")]
    wrong = [each for each in own if each.split(".")[1] not in allowed | {"__version__"}]
    assert not wrong, f"{here} may import {sorted(allowed)}"


@pytest.mark.parametrize("file", sorted((SOURCE / "stages").glob("*.py")), ids=name)
def test_stages_never_import_stages(file):
    kinds = {path.removeprefix("finetune.stages.") for path in stage_modules()}
    own = [each.split(".") for each in imported(ast.walk(tree(file)))]
    taken = {each[2] for each in own if each[:2] == ["finetune", "stages"] and len(each) > 2}
    assert not taken & kinds


def stage_modules():
    from finetune.stages import MODULES

    return MODULES.values()


def is_light(file):
    return room(file) in LIGHT or name(file) in LIGHT_FILES


@pytest.mark.parametrize("file", [file for file in FILES if is_light(file)], ids=name)
def test_light_modules_import_no_heavy_library_when_loaded(file):
    taken = {each.split(".")[0] for each in imported(at_module_level(tree(file)))}
    assert not taken & HEAVY


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_file_has_a_docstring_and_fits_on_a_few_screens(file):
    assert ast.get_docstring(tree(file))
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("file", FILES, ids=name)
def test_nothing_is_printed_past_the_console(file):
    calls = [node.func for node in ast.walk(tree(file)) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]


def test_every_folder_of_the_package_has_its_row_in_the_table():
    rooms = {p.stem for p in SOURCE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert rooms <= set(ROOMS)


def test_every_kind_of_stage_has_its_module():
    from finetune.recipe.types import STAGES
    from finetune.stages import MODULES

    assert set(STAGES) == set(MODULES)
