"""Writes the embedded sample data for dialogue summarisation: messenger chats with summaries, and preference pairs.

Every name, line and summary is put together from the scripts in `data/samsum/content`; the result is the same byte
for byte each time, whatever the machine.
"""

import argparse
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from samsum.collect import Collector, take_chats, take_pairs
from samsum.compose import Composer

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "src" / "finetune" / "assets" / "samples"
SEED = 20240
CHAT_SPLITS = {"test": 300, "validation": 200, "train": 3000}
PAIR_SPLITS = {"test": 200, "train": 1500}


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(text.encode("utf-8"))


def write_samples(out: Path, seed: int = SEED) -> list[Path]:
    """Writes both data sets under `out`; the test rows are drawn first and nothing later may come close to them."""
    composer, collector, paths = Composer(), Collector(), []
    for split, count in CHAT_SPLITS.items():
        rows = take_chats(composer, collector, split, count, random.Random(f"{seed}-chat-{split}"))
        paths.append(out / "samsum" / f"{split}.jsonl")
        write_rows(paths[-1], rows)
    for split, count in PAIR_SPLITS.items():
        rows = take_pairs(composer, collector, split, count, random.Random(f"{seed}-pair-{split}"))
        paths.append(out / "samsum_preferences" / f"{split}.jsonl")
        write_rows(paths[-1], rows)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write the chat samples (samsum) and their preference pairs (samsum_preferences).",
        epilog="example: python data/make_samsum.py --out /tmp/samples",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=ASSETS,
        metavar="DIR",
        help="where to (default: the assets folder)",
    )
    for path in write_samples(parser.parse_args().out):
        print(path)


if __name__ == "__main__":
    main()
