"""A program that runs a chain of fakes: python chain_program.py FOLDER '{"dpo": {...}}'.

The fakes are put in place at import, so that processes which import their parent's main file
find them too.
"""

import json
import os
import sys
from pathlib import Path

import chain_fakes

from finetune import cli, stages
from finetune.chain import child, inside
from finetune.commands import command

stages.MODULES.update(dict.fromkeys(stages.MODULES, "chain_fakes"))
inside._audited = lambda plan: []
child.SOFT_SECONDS = float(os.environ.get("FAKE_SOFT", child.SOFT_SECONDS))


if __name__ == "__main__":
    folder, changes = Path(sys.argv[1]), json.loads(sys.argv[2])
    command._load = lambda parsed: chain_fakes.recipe(folder, **changes)
    cli.main(["run", "fake.yaml"])
