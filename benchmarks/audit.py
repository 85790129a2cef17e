"""An audit of many rows: time, and the most memory the process took.

    python benchmarks/audit.py --rows 1000000

Rows are made by this script: dialogues of made-up words, each its own.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

RECIPE = """\
base: {{model: tiny-mistral}}
stages:
  - sft: {{data: {rows}, lora: {{}}, train: {{max_length: 512}}}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parsed = parser.parse_args()
    with TemporaryDirectory() as folder:
        rows, recipe = Path(folder) / "rows.jsonl", Path(folder) / "recipe.yaml"
        write(rows, parsed.rows)
        recipe.write_text(RECIPE.format(rows=rows), encoding="utf-8")
        begun = time.monotonic()
        command = [sys.executable, "-m", "finetune", "audit", str(recipe)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.monotonic() - begun
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        sys.stdout.write(done.stdout)
        sys.stdout.write(
            f"{parsed.rows:,} rows, {rows.stat().st_size / 2**20:.0f} MiB: {seconds:.0f} s, "
            f"{parsed.rows / seconds:,.0f} rows/s, peak {peak:.2f} GiB\n"
        )


def write(file: Path, count: int) -> None:
    """Rows of prompt and completion, about 100 words each."""
    generator = random.Random(0)
    words = ["".join(generator.choices("aeioubdglmnprstv", k=5)) for _ in range(20_000)]
    with file.open("w", encoding="utf-8") as lines:
        for _ in range(count):
            row = {
                "prompt": " ".join(generator.choices(words, k=generator.randint(20, 80))),
                "completion": " ".join(generator.choices(words, k=generator.randint(5, 30))),
            }
            lines.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
