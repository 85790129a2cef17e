"""Seconds to help and to a mistyped key, ours beside TRL's own command line, in one run.

python benchmarks/command_line.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
REPEATS = 3
OURS = """name: typo
base: {model: tiny-mistral}
stages:
  - sft: {data: {task: samsum}, lora: {rnk: 16}}
"""
TRLS = "model_name_or_path: x\ndataset_name: x\nlora_rnk: 16\n"


def best(*command: str) -> tuple[float, str]:
    """Fastest of several runs, and what the last one said."""
    times, said = [], ""
    for _ in range(REPEATS):
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        times.append(time.perf_counter() - begun)
        said = (done.stdout + done.stderr).strip()
    return min(times), said


def main() -> None:
    """Measure and write a table to standard output."""
    with tempfile.TemporaryDirectory() as folder:
        ours, trls = Path(folder) / "ours.yaml", Path(folder) / "trl.yaml"
        ours.write_text(OURS, encoding="utf-8")
        trls.write_text(TRLS, encoding="utf-8")
        rows = [
            ("help", (str(BIN / "finetune"), "--help"), (str(BIN / "trl"), "--help")),
            (
                "mistyped key",
                (str(BIN / "finetune"), "run", str(ours)),
                (str(BIN / "trl"), "sft", "--config", str(trls)),
            ),
        ]
        for name, mine, theirs in rows:
            (seconds, said), (others, _) = best(*mine), best(*theirs)
            sys.stdout.write(
                f"{name:<14} finetune {seconds:6.2f} s   trl {others:6.2f} s   "
                f"ratio {others / seconds:5.1f}\n"
            )
            if name != "help":
                sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main()
