"""`finetune chat`: talk to a model on the terminal."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from finetune import console
from finetune.commands import answering
from finetune.commands.command import Command

if TYPE_CHECKING:
    from finetune.talk.history import History
    from finetune.talk.speaker import Speaker

HELP = "/reset forgets what was said, /system TEXT changes the system message, /exit ends"


def _arguments(parser: argparse.ArgumentParser) -> None:
    answering.takes_model(parser)
    answering.takes_generation(parser, max_new_tokens=512)


def _chat(parsed: argparse.Namespace) -> None:
    speaker = answering.opened(parsed)
    from finetune.talk.history import History

    history = History(system=parsed.system)
    settings = answering.generation_of(parsed)
    console.say(f"{HELP}; Ctrl-C stops an answer")
    while (line := _line()) is not None:
        word, _, rest = line.strip().partition(" ")
        if word in {"/exit", "/quit"}:
            return
        if word == "/reset":
            history.clear()
            console.say("forgotten")
        elif word == "/system":
            history.system = rest.strip()
            console.say("the system message is set" if rest.strip() else "no system message")
        elif word.startswith("/") and word[1:].isalpha():
            console.say(HELP)
        elif line.strip():
            _exchange(speaker, history, line, settings)


def _line() -> str | None:
    """What the user says; None at the end."""
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None
    except KeyboardInterrupt:
        console.say("\n/exit or Ctrl-D ends")
        return ""


def _exchange(speaker: Speaker, history: History, text: str, settings: dict[str, object]) -> None:
    history.ask(text)
    ids, notes = history.fit(speaker.tokenizer, speaker.limit(settings))
    for note in notes:
        console.say(f"({note})")
    said = speaker.answer(ids, settings, answering.write)
    answering.write("\n")
    answering.tell_end(said)
    history.answer(said.text.strip())


COMMAND = Command(
    "finetune chat samsum\n"
    "finetune chat runs/samsum --stage sft --system 'Be brief.'\n"
    "finetune chat my-adapter --base mistralai/Mistral-7B-v0.3 --load-in-4bit\n"
    "finetune chat tiny-mistral --temperature 0.7 --top-p 0.9",
    _arguments,
    _chat,
)
