"""The command line: parse, call, end with an exit code; each command is a file in `commands/`."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from finetune import __version__, console, ranks
from finetune.chain.stops import ToldError
from finetune.commands import COMMANDS, load
from finetune.errors import FinetuneError

OK, USAGE, INTERRUPTED = 0, 2, 130
# Time for rank 0 to tell what all ranks have found, before a launcher stops it for our exit.
OTHERS_WAIT_SECONDS = 3.0


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and end with its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    code = _guarded(arguments)
    if code != OK:
        sys.exit(code)


def run_file(path: str) -> None:
    """Run the recipe file that called, with the command line behind it as changed keys.

    Processes that a run starts may import their parent's main file, this recipe: they go on.
    """
    if not _in_child():
        main(["run", path, *sys.argv[1:]])


def _in_child() -> bool:
    """Whether this process was started by another Python program's own multiprocessing.

    `_inheriting` is true while a spawned process imports the main file, where `parent_process`
    is not known yet. `multiprocess` is the copy of the library that `datasets` uses.
    """
    for library in filter(None, map(sys.modules.get, ("multiprocessing", "multiprocess"))):
        inheriting = getattr(library.current_process(), "_inheriting", False)
        if inheriting or library.parent_process() is not None:
            return True
    return False


def _guarded(arguments: list[str]) -> int:
    """The command's exit code; every error that a user may see becomes a message here."""
    try:
        try:
            _command(arguments)
        finally:
            sys.stdout.flush()
    except FinetuneError as error:
        return _failed(error)
    except ToldError as told:
        time.sleep(OTHERS_WAIT_SECONDS)
        return told.code
    except KeyboardInterrupt as stop:
        console.say(f"\n{str(stop) or 'stopped'}")
        return int(getattr(stop, "code", INTERRUPTED))
    except BrokenPipeError:
        # The reader had enough (`| head`); Python would complain once more at its own end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK


def _command(arguments: list[str]) -> None:
    if not arguments:
        return _parser().print_help()
    _suggest(arguments[0])
    parsed = _parse(arguments)
    handler: Callable[[argparse.Namespace], None] = parsed.handler
    return handler(parsed)


def _failed(error: FinetuneError) -> int:
    if not ranks.is_main():
        # Who is still here afterwards has met the error alone.
        time.sleep(OTHERS_WAIT_SECONDS)
        sys.stderr.write(f"rank {ranks.rank()}: {error}\n")
    console.say(str(error))
    return error.code


class _Parser(argparse.ArgumentParser):
    """Speaks on rank 0 alone, and points to the command's own help."""

    def error(self, message: str) -> NoReturn:
        console.say(f"finetune: {message}\n  See: {self.prog} --help")
        sys.exit(USAGE)


def _parser(word: str = "") -> argparse.ArgumentParser:
    """Of all commands the names; of the one that is called its arguments too."""
    parser = _Parser(
        prog="finetune",
        description="One YAML recipe from a base language model to a fine-tuned, measured and "
        "merged one.",
        epilog="first steps:\n  finetune run samsum\n  finetune show samsum",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"finetune {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=line,
            description=f"{line[0].upper()}{line[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == word:
            command = load(name)
            sub.epilog = "\n  ".join(["examples:", *command.examples.splitlines()])
            sub.set_defaults(handler=command.handler)
            command.arguments(sub)
    return parser


def _parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; changed keys may stand on both sides of an option."""
    parser = _parser(arguments[0])
    parsed, rest = parser.parse_known_args(arguments)
    changes = [each for each in rest if "=" in each and not each.startswith("-")]
    if wrong := [each for each in rest if each not in changes or not hasattr(parsed, "changes")]:
        parser.error(f"unknown: {' '.join(wrong)}")
    if changes:
        parsed.changes = [*parsed.changes, *changes]
    if hasattr(parsed, "stage"):
        _tell_apart(parsed, parser)
    return parsed


def _tell_apart(parsed: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """A stage and changed keys stand in any order; argparse takes the first word as the stage."""
    words = [each for each in (parsed.stage, *parsed.changes) if each]
    names = [each for each in words if "=" not in each]
    if len(names) > 1:
        parser.error(f"one stage at a time: {' '.join(names)}")
    parsed.stage = names[0] if names else None
    parsed.changes = [each for each in words if "=" in each]


def _suggest(word: str) -> None:
    """Refuse a mistyped command with the right one; argparse would only list them."""
    names = list(COMMANDS)
    if word.startswith("-") or word in names:
        return
    if word.endswith((".yaml", ".yml")):
        hint = f"did you mean 'finetune run {word}'?"
    elif close := difflib.get_close_matches(word, names, n=1):
        hint = f"did you mean {close[0]!r}?"
    else:
        hint = f"there are {', '.join(names)}"
    console.say(f"finetune: no command {word!r}; {hint}")
    sys.exit(USAGE)
