"""The commands, one file each: what it is called, its arguments, and the room it calls."""

from __future__ import annotations

from finetune.commands import (
    audit,
    chat,
    check,
    doctor,
    generate,
    launch,
    plan,
    preview,
    report,
    run,
    schema,
    score,
    selftest,
    show,
)
from finetune.commands.command import Command

COMMANDS: tuple[Command, ...] = (
    run.COMMAND,
    plan.COMMAND,
    check.COMMAND,
    preview.COMMAND,
    audit.COMMAND,
    show.COMMAND,
    score.COMMAND,
    report.COMMAND,
    generate.COMMAND,
    chat.COMMAND,
    launch.COMMAND,
    doctor.COMMAND,
    selftest.COMMAND,
    schema.COMMAND,
)
