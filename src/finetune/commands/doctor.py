"""`finetune doctor`: what this machine can run."""

from __future__ import annotations

import argparse
import json
import sys

from finetune import console
from finetune.commands.command import Command, out
from finetune.launch import doctor
from finetune.report.layout import columns


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def _doctor(parsed: argparse.Namespace) -> None:
    findings = doctor.examine()
    if parsed.json:
        out(json.dumps([vars(each) for each in findings], indent=2, ensure_ascii=False))
    else:
        out(_table(findings))
    broken = sum(each.status == "missing" for each in findings)
    console.say(f"{broken} missing: runs fail until this is mended" if broken else "ready")
    if broken:
        sys.exit(1)


def _table(findings: list[doctor.Finding]) -> str:
    rows: list[list[str]] = []
    for each in findings:
        rows.append([each.status, each.part, each.what])
        if each.remedy:
            rows.append(["", "", each.remedy])
    return columns(rows, right=False)


COMMAND = Command(
    "finetune doctor\nfinetune doctor --json",
    _arguments,
    _doctor,
)
