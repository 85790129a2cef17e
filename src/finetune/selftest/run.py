"""The checks one after another, each in a process of its own."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from finetune import console
from finetune.chain import child, inside, provenance
from finetune.selftest.readings import Outcome, Reading

# What a user reads: the function that measures it, `module:name`.
CHECKS = {
    "8 rows at once = 4 x 2": "training:accumulation",
    "interrupted = uninterrupted": "training:resume",
    "packed rows = rows": "training:packing",
    "dpo: step 0 is ln 2": "training:dpo",
    "adapter = merged": "training:merge",
    "4 bits = their definition": "inference:four_bits",
    "batched answers = single": "inference:generation",
    "two processes = one": "training:ranks",
}


def selftest(checks: dict[str, str] = CHECKS) -> Iterator[Outcome]:
    """Each check's outcome as it is known; what was written is gone at the end.

    A check that raises, or whose process dies, is an outcome too: the others go on.
    """
    # Threads of tiny models wait for each other longer than they compute.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="finetune-selftest-") as name:
        if child.method() == "fork":
            inside.import_stages(["sft", "dpo", "merge"])
        for check, place in checks.items():
            folder = Path(tempfile.mkdtemp(dir=name))
            begun = time.monotonic()
            trace = folder / "error.txt"
            reply = child.call(_measure, place, folder, folder=folder, trace=trace)
            if not reply.known and trace.exists():
                console.say(trace.read_text("utf-8"))
            readings, device = reply.value or ((), "")
            error = str(reply.error or "")
            yield Outcome(check, tuple(readings), error, device, time.monotonic() - begun)


def _measure(place: str, folder: Path) -> tuple[list[Reading], str]:
    """Make the base, and take the measurements; what the stages say goes to a file."""
    with (folder / "log").open("w", encoding="utf-8") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    # What a process that dies leaves goes with the rest.
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    inside.import_stages(["sft", "dpo", "merge"])
    module, _, name = place.partition(":")
    import_module("finetune.selftest.tiny").write(folder)
    measure = getattr(import_module(f"finetune.selftest.{module}"), name)
    return measure(folder), provenance.device()
