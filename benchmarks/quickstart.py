"""The quickstart from an empty run folder: seconds, peak memory, and seconds when all is kept.

python benchmarks/quickstart.py [RECIPE] [KEY=VALUE ...]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
FINETUNE = str(Path(sys.executable).parent / "finetune")


def tree_memory(pid: int) -> int:
    """Bytes resident in a process and all below it; shared pages counted once a process."""
    total, waiting = 0, [pid]
    while waiting:
        each = waiting.pop()
        try:
            status = Path(f"/proc/{each}/smaps_rollup").read_text(encoding="utf-8")
            children = Path(f"/proc/{each}/task/{each}/children").read_text(encoding="utf-8")
        except OSError:
            continue
        total += int(status.split("Pss:")[1].split()[0]) * 1024
        waiting += [int(child) for child in children.split()]
    return total


def run(arguments: list[str]) -> tuple[float, int]:
    """Seconds and peak bytes of one run; its table goes to standard output."""
    begun = time.perf_counter()
    process = subprocess.Popen([FINETUNE, "run", *arguments])
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, tree_memory(process.pid))
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    if process.wait():
        sys.exit(process.returncode)
    watcher.join()
    return time.perf_counter() - begun, peak


def main() -> None:
    """Measure a first and a second run."""
    recipe, *changes = sys.argv[1:] or [str(ROOT / "recipes" / "samsum.yaml")]
    with tempfile.TemporaryDirectory() as folder:
        arguments = [recipe, *changes, f"output_dir={folder}/run"]
        seconds, peak = run(arguments)
        again, _ = run(arguments)
    sys.stdout.write(
        f"first run {seconds:.0f} s, peak {peak / 2**30:.2f} GiB; run again {again:.2f} s\n"
    )


if __name__ == "__main__":
    main()
