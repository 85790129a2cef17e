"""What the README tells people to type exists and is understood."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from finetune import cli
from finetune.recipe import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "your-data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README + GUIDE, re.S)
COMMANDS = [
    line.split("  #")[0].strip()
    for language, block in BLOCKS
    if not language
    for line in block.splitlines()
    if line.startswith(("finetune ", "accelerate ", "python ", "make "))
]


@pytest.mark.parametrize("command", [each for each in COMMANDS if each.startswith("make ")])
def test_a_target_of_make_exists(command):
    assert shutil.which("make")
    done = subprocess.run(
        [*shlex.split(command), "-n"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [each for each in COMMANDS if each.startswith("finetune ")])
def test_a_command_is_understood(command, monkeypatch):
    parsed = cli._parse(shlex.split(command)[1:])
    assert callable(parsed.handler)


def test_recipes_named_in_commands_are_there():
    names = re.findall(r"recipes/[\w/-]+\.yaml", README)
    assert len(names) >= 6
    for name in names:
        assert (ROOT / name).is_file(), name


def test_the_recipe_shown_is_one(tmp_path):
    shown = next(block for language, block in BLOCKS if language == "yaml")
    path = tmp_path / "shown.yaml"
    path.write_text(shown, encoding="utf-8")
    assert [stage.kind for stage in load(path).stages] == ["sft", "dpo", "merge", "evaluate"]


def test_the_recipe_of_the_guide_is_one_and_takes_the_pairs_too(tmp_path):
    shown, pairs = re.findall(r"```yaml\n(.*?)```", GUIDE, re.S)
    path = tmp_path / "faq.yaml"
    path.write_text(shown.replace("  - merge: {}\n", f"{pairs}  - merge: {{}}\n"), encoding="utf-8")
    assert [stage.kind for stage in load(path).stages] == ["sft", "dpo", "merge", "evaluate"]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
