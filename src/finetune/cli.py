"""The command line: parse, call, print; what a command does lives in the rooms it calls."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from finetune import __version__, console, ranks
from finetune.chain.stops import ToldError
from finetune.errors import FinetuneError

OK, ERROR, USAGE, INTERRUPTED = 0, 1, 2, 130
# Time for rank 0 to tell what all ranks have found, before a launcher stops it for our exit.
OTHERS_WAIT_SECONDS = 3.0

Handler = Callable[[argparse.Namespace], None]


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
        return _failed(str(error))
    except ToldError:
        time.sleep(OTHERS_WAIT_SECONDS)
        return ERROR
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
    handler: Handler = parsed.handler
    return handler(parsed)


def _failed(text: str) -> int:
    if not ranks.is_main():
        # Who is still here afterwards has met the error alone.
        time.sleep(OTHERS_WAIT_SECONDS)
        sys.stderr.write(f"rank {ranks.rank()}: {text}\n")
    console.say(text)
    return ERROR


def _run(parsed: argparse.Namespace) -> None:
    if parsed.plan:
        return _plan(parsed)
    from finetune.chain.run import run
    from finetune.report.table import closing

    _out(f"\n{closing(run(_load(parsed)))}")
    return None


def _plan(parsed: argparse.Namespace) -> None:
    from finetune.chain.plan import make

    _out(str(make(_load(parsed))))


def _check(parsed: argparse.Namespace) -> None:
    from finetune.chain.inputs import problems, together

    recipe = _load(parsed)
    if found := problems(recipe):
        raise together(found, "with what the recipe reads")
    names = ", ".join(stage.name for stage in recipe.stages)
    _out(f"ok: {len(recipe.stages)} stages ({names})")


def _show(parsed: argparse.Namespace) -> None:
    from finetune.chain.plan import make
    from finetune.chain.run import outcome
    from finetune.report.details import details
    from finetune.report.table import closing

    found = outcome(make(_load(parsed)))
    if not parsed.stage:
        return _out(closing(found))
    names = [step.stage.name for step in found.plan.steps]
    if parsed.stage not in names:
        close = difflib.get_close_matches(parsed.stage, names, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(names)}."
        raise FinetuneError(f"the recipe has no stage {parsed.stage!r}", remedy=hint)
    if parsed.stage not in found.records:
        step = found.plan.steps[names.index(parsed.stage)]
        again = shlex.join(["finetune", "run", parsed.recipe, *parsed.changes])
        raise FinetuneError(f"{parsed.stage!r} is not done ({step})", remedy=f"Run: {again}")
    return _out(details(found.records[parsed.stage]))


def _schema(parsed: argparse.Namespace) -> None:
    from finetune.recipe.schema import schema

    text = json.dumps(schema(), indent=2, ensure_ascii=False)
    if parsed.out is None:
        return _out(text)
    try:
        Path(parsed.out).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise FinetuneError(f"cannot be written ({error.strerror})", where=parsed.out) from error
    return console.say(f"wrote {parsed.out}")


def _load(parsed: argparse.Namespace) -> Any:
    """The recipe, from a file or by the name of one that ships, with the changed keys in it."""
    from finetune.recipe import find, load

    changes = list(getattr(parsed, "changes", ()))
    path = Path(parsed.recipe)
    return load(path if path.is_file() else find(parsed.recipe), changes)


def _out(text: str) -> None:
    """What was asked for, on standard output; messages go to standard error."""
    if ranks.is_main():
        sys.stdout.write(f"{text}\n")


class _Parser(argparse.ArgumentParser):
    """Speaks on rank 0 alone, and points to the command's own help."""

    def error(self, message: str) -> NoReturn:
        console.say(f"finetune: {message}\n  See: {self.prog} --help")
        sys.exit(USAGE)


# (name, one line, example lines, handler); arguments follow in `_arguments`.
COMMANDS: tuple[tuple[str, str, str, Handler], ...] = (
    (
        "run",
        "run a recipe: keep what is done, run the rest",
        "finetune run samsum\n"
        "finetune run my.yaml dpo.train.beta=0.2 output_dir=runs/beta\n"
        "accelerate launch -m finetune run my.yaml",
        _run,
    ),
    (
        "plan",
        "show what a run would do, and why",
        "finetune plan my.yaml\nfinetune plan my.yaml sft.train.learning_rate=1e-4",
        _plan,
    ),
    (
        "check",
        "look for mistakes in a recipe and what it reads",
        "finetune check my.yaml",
        _check,
    ),
    (
        "show",
        "show the results of a run, or all that is known of one stage",
        "finetune show my.yaml\nfinetune show my.yaml sft output_dir=runs/beta",
        _show,
    ),
    (
        "schema",
        "print the JSON Schema of recipes, for editors",
        "finetune schema --out recipe.schema.json",
        _schema,
    ),
)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="finetune",
        description="One YAML recipe from a base language model to a fine-tuned, measured and "
        "merged one.",
        epilog="first steps:\n  finetune run samsum\n  finetune show samsum",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"finetune {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, line, examples, handler in COMMANDS:
        command = commands.add_parser(
            name,
            help=line,
            description=f"{line[0].upper()}{line[1:]}.",
            epilog="\n  ".join(["examples:", *examples.splitlines()]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(handler=handler)
        _arguments(name, command)
    return parser


def _parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; changed keys may stand on both sides of an option."""
    parser = _parser()
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


def _arguments(name: str, command: argparse.ArgumentParser) -> None:
    if name == "schema":
        command.add_argument("--out", metavar="FILE", help="write it there")
        return
    command.add_argument("recipe", metavar="RECIPE", help="a file, or the name of a shipped recipe")
    if name == "show":
        command.add_argument("stage", metavar="STAGE", nargs="?", help="the name of one stage")
    command.add_argument(
        "changes",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],  # without it argparse calls them required
        help="keys to change, such as seed=1",
    )
    if name == "run":
        command.add_argument("--plan", action="store_true", help="only show what would be done")


def _suggest(word: str) -> None:
    """Refuse a mistyped command with the right one; argparse would only list them."""
    names = [name for name, *_ in COMMANDS]
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
