"""`finetune selftest`: whether training and inference do on this machine what they promise."""

from __future__ import annotations

import argparse
import json
import signal
import sys

from finetune import console
from finetune.chain import provenance
from finetune.commands.command import Command, out
from finetune.report.layout import columns
from finetune.selftest.readings import Outcome, Reading
from finetune.selftest.run import CHECKS, selftest


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def _selftest(parsed: argparse.Namespace) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves as little as Ctrl-C
    console.say(f"{len(CHECKS)} checks on a tiny base, up to two minutes")
    outcomes = []
    for outcome in selftest():
        console.say(f"  {_word(outcome)}  {outcome.check} ({outcome.seconds:.0f} s)")
        outcomes.append(outcome)
    if parsed.json:
        told = {"versions": provenance.versions(), "checks": [o.to_json() for o in outcomes]}
        out(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        out(_table(outcomes))
    failed = sum(not each.passed for each in outcomes)
    console.say(f"{failed} of {len(outcomes)} failed" if failed else "all passed")
    if failed:
        sys.exit(1)


def _word(found: Outcome | Reading) -> str:
    return "pass" if found.passed else "FAIL"


def _table(outcomes: list[Outcome]) -> str:
    rows = [["", "check", "measured", "at most", ""]]
    for each in outcomes:
        if each.error:
            rows.append(["FAIL", each.check, "", "", each.error.replace("\n", " ")])
        for number, reading in enumerate(each.readings):
            name = each.check if number == 0 else ""
            values = [f"{value:.1e}" for value in (reading.measured, reading.bound)]
            rows.append([_word(reading), name, *values, reading.what])
    return columns(rows, right=False)


COMMAND = Command(
    "finetune selftest\nfinetune selftest --json",
    _arguments,
    _selftest,
)
