"""`finetune generate`: answers to prompts, one on the terminal or many from a file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune import console
from finetune.commands import answering
from finetune.commands.command import Command
from finetune.errors import FinetuneError
from finetune.recipe.types import Data
from finetune.tasks import TASKS

if TYPE_CHECKING:
    from finetune.talk.speaker import Speaker

BATCH = 16


def _arguments(parser: argparse.ArgumentParser) -> None:
    answering.takes_model(parser)
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="by default standard input")
    parser.add_argument(
        "--file",
        metavar="FILE",
        help="rows in a .jsonl file (`prompt`, `messages`, or the task's columns), or one prompt "
        "in a file of another kind",
    )
    parser.add_argument("--out", metavar="FILE", help="write the answers there, as JSON lines")
    parser.add_argument("--task", choices=sorted(TASKS), help="word the prompt as the task does")
    parser.add_argument("--raw", action="store_true", help="continue the text, without template")
    answering.takes_generation(parser, max_new_tokens=256)


def _generate(parsed: argparse.Namespace) -> None:
    if parsed.raw and (parsed.task or parsed.system):
        raise FinetuneError("--raw takes the text as it is: leave --task and --system out")
    if parsed.prompt is not None and parsed.file is not None:
        raise FinetuneError("a prompt is given twice: on the command line and in --file")
    if parsed.file is not None and Path(parsed.file).suffix == ".jsonl":
        return _many(parsed, _rows(Path(parsed.file)))
    if parsed.out is not None:
        raise FinetuneError("--out is for rows: give --file ROWS.jsonl")
    text = _text(parsed)
    speaker = answering.opened(parsed)
    settings = answering.generation_of(parsed)
    said = speaker.answer(_ids(speaker, text, parsed), settings, answering.write)
    answering.write("\n")
    answering.tell_end(said)
    return None


def _text(parsed: argparse.Namespace) -> Any:
    """The one prompt: from the command line, a file or standard input."""
    if parsed.prompt is not None:
        text = parsed.prompt
    elif parsed.file is not None:
        try:
            text = Path(parsed.file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FinetuneError(f"cannot be read: {error}", where=parsed.file) from error
    elif sys.stdin.isatty():
        raise FinetuneError(
            "there is no prompt", remedy="Give one behind TARGET, in --file, or by a pipe."
        )
    else:
        text = sys.stdin.read()
    return text if parsed.task is None else _worded(text.strip(), parsed.task)


def _worded(text: str, task: str) -> str | list[dict[str, str]]:
    """The task's prompt, where it is made of one text."""
    column, *others = TASKS[task].prompt_needs
    try:
        if not others:
            return TASKS[task].prompt({column: text})
    except KeyError as error:
        others = [str(error.args[0])]
    raise FinetuneError(
        f"a prompt of {task} is made of {', '.join([column, *others])}",
        where="--task",
        remedy="Give rows with these columns: --file ROWS.jsonl.",
    )


def _ids(speaker: Speaker, prompt: Any, parsed: argparse.Namespace) -> list[int]:
    """Token ids of a prompt: a text, or messages."""
    from finetune.talk.history import History

    if parsed.raw:
        return list(speaker.tokenizer(prompt).input_ids)
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    history = History(system=parsed.system, turns=turns)
    ids, notes = history.fit(speaker.tokenizer, speaker.limit(answering.generation_of(parsed)))
    for note in notes:
        console.say(f"({note})")
    return ids


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FinetuneError(f"cannot be read: {error}", where=str(file)) from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError as error:
            raise FinetuneError(f"no JSON: {error}", where=f"{file} line {number}") from error
        if row is not None and not isinstance(row, dict):
            raise FinetuneError("a row is an object", where=f"{file} line {number}")
        rows += [row] if row else []
    if not rows:
        raise FinetuneError("there are no rows", where=str(file))
    return rows


def _many(parsed: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    prompts = _prompts(parsed, rows)
    speaker = answering.opened(parsed)
    from finetune.models.generate import generate

    answers = generate(
        speaker.model,
        speaker.tokenizer,
        [_ids(speaker, prompt, parsed) for prompt in prompts],
        settings=answering.generation_of(parsed),
        batch_size=BATCH,
        title="answers",
    )
    found = [
        {**row, "completion": answer.text, "stopped": answer.stopped}
        for row, answer in zip(rows, answers, strict=True)
    ]
    if parsed.out is None:
        return answering.write("".join(f"{json.dumps(each)}\n" for each in found))
    lines = (f"{json.dumps(each, ensure_ascii=False)}\n" for each in found)
    try:
        Path(parsed.out).write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise FinetuneError(f"cannot be written ({error.strerror})", where=parsed.out) from error
    return console.say(f"wrote {len(found)} answers to {parsed.out}")


def _prompts(parsed: argparse.Namespace, rows: list[dict[str, Any]]) -> list[Any]:
    """The prompt of each row: messages as training would read them, or with --raw a text."""
    if not parsed.raw:
        from finetune.tasks.examples import prompts

        return [each.messages for each in prompts(Data(path=parsed.file, task=parsed.task))]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get("prompt"), str):
            raise FinetuneError("the row has no `prompt`", where=f"{parsed.file} row {number}")
    return [row["prompt"] for row in rows]


COMMAND = Command(
    "finetune generate runs/samsum 'What is a ferry?'\n"
    "finetune generate samsum --task samsum --file dialogue.txt\n"
    "finetune generate runs/samsum --stage dpo --file prompts.jsonl --out answers.jsonl\n"
    "finetune generate tiny-mistral --raw 'Once upon a time' --temperature 0.8\n"
    "cat question.txt | finetune generate my-adapter --base mistralai/Mistral-7B-v0.3",
    _arguments,
    _generate,
)
