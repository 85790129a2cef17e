"""Makes the embedded text-to-SQL sample: small SQLite databases, and questions with their queries.

Everything is invented by this script from the descriptions in `text_to_sql/content`; the layout is
that of Spider (db_id, question, query, and one SQLite file for each database).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from text_to_sql.rows import fill
from text_to_sql.sampling import Sample, draw_samples, split
from text_to_sql.schema import Database, read_databases
from text_to_sql.store import write_database

SAMPLES = Path(__file__).resolve().parents[1] / "src" / "finetune" / "assets" / "samples"
DRAWN, TEST, TEST_UNSEEN_DATABASE = 5000, 400, 200
SEED = 7


def make(out: Path, seed: int = SEED) -> dict[str, int]:
    """Writes all files below `out` and says how many rows each split has."""
    databases = [fill(database, seed) for database in read_databases()]
    for database in databases:
        write_database(database, out / "database" / f"{database.name}.sqlite")
    splits = make_splits(databases, seed)
    for name, samples in splits.items():
        lines = [json.dumps(sample.row(), ensure_ascii=False) for sample in samples]
        (out / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {name: len(samples) for name, samples in splits.items()}


def make_splits(databases: list[Database], seed: int) -> dict[str, list[Sample]]:
    seen = [database for database in databases if not database.unseen]
    unseen = [database for database in databases if database.unseen]
    taken: set[str] = set()
    train, test = split(draw_samples(seen, DRAWN, seed, taken), TEST, seed)
    other = draw_samples(unseen, TEST_UNSEEN_DATABASE, seed, taken)
    return {"train": train, "test": test, "test_unseen_database": other}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python data/make_text_to_sql.py --out /tmp/text_to_sql",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, default=SAMPLES / "text_to_sql", help="folder to write to"
    )
    parser.add_argument("--seed", type=int, default=SEED, help="seed of rows and questions")
    options = parser.parse_args()
    for name, count in make(options.out, options.seed).items():
        sys.stdout.write(f"{name}: {count} rows\n")


if __name__ == "__main__":
    main()
