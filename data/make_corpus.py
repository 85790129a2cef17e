"""Write the corpus that the shipped bases are trained on: our own texts, from a seed.

Example:
    python data/make_corpus.py --out corpus.jsonl.gz --documents 42000 --seed 1
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from corpus.mixture import MIXTURES, documents


def write(out: Path, count: int, seed: int, mixture: str) -> Counter[str]:
    """Write `count` rows {"text": ...} and return how many there are of each kind."""
    kinds: Counter[str] = Counter()
    out.parent.mkdir(parents=True, exist_ok=True)
    # no file name and time zero in the gzip header: the same arguments give the same bytes
    with out.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        for kind, text in documents(count, seed, mixture):
            kinds[kind] += 1
            packed.write((json.dumps({"text": text}, ensure_ascii=False) + "\n").encode("utf-8"))
    return kinds


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="the file to write, ending in .jsonl.gz"
    )
    parser.add_argument(
        "--documents", type=int, default=42000, help="how many documents (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of all draws (default: %(default)s)"
    )
    parser.add_argument(
        "--mixture",
        choices=sorted(MIXTURES),
        default="all",
        help="all kinds, or the drill in copying that comes before them (default: %(default)s)",
    )
    options = parser.parse_args(argv)
    kinds = write(options.out, options.documents, options.seed, options.mixture)
    for kind, count in kinds.most_common():
        sys.stdout.write(f"{kind}\t{count}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
