"""The commands, one file each: its arguments, and the room it calls.

A command's file is imported when it is called: the help of all has to be there at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetune.commands.command import Command

COMMANDS = {
    "run": "run a recipe: keep what is done, run the rest",
    "plan": "show what a run would do, and why; what memory and time it takes",
    "check": "look for mistakes in a recipe and what it reads",
    "preview": "show rows as a stage will see them: which tokens are learnt, special, or cut",
    "audit": "look for what is wrong with a recipe's rows: cut, masked, doubled, leaked, damaged",
    "show": "show the results of a run, or all that is known of one stage",
    "score": "score what models wrote once more, without the models",
    "report": "write a run's report again, or compare runs",
    "clean": "list what a run folder holds that nothing needs any more; remove it when told",
    "generate": "let a model answer prompts",
    "chat": "talk to a model",
    "launch": "write the file that runs a recipe on a cluster",
    "doctor": "tell what this machine can run, and what to mend",
    "selftest": "measure on this machine that training and inference keep their promises",
    "schema": "print the JSON Schema of recipes, for editors",
}


def load(name: str) -> Command:
    """The command of this name."""
    command: Command = import_module(f"finetune.commands.{name}").COMMAND
    return command
