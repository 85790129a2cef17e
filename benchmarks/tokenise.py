"""Rows to token ids beside `datasets.map` with the bare tokenizer: the same texts, in turn.

The peer tokenises texts, in batches, in one process with all of the tokenizer's own threads.
`texts` is the same work by this project, for pretraining, cut into blocks. `conversations` is what
tuning needs: the same texts, which it renders by the template first, with a second render to find
what is learnt, what is lost counted, and labels. Each run is a process of its own; its peak memory
counts what it has mapped from files. Reading the rows is timed apart.

    python benchmarks/tokenise.py [--rows 50000] [--rounds 2] [--base tiny-mistral]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORDS = 60  # of a question; an answer has two thirds of it
VOCABULARY = 20_000
BLOCK = 1024
SIDES = ("texts", "conversations", "peer")


def make(folder: Path, rows: int, base: str) -> None:
    """Write `rows` conversations, and the same as rendered texts."""
    tokenizer = _tokenizer(base)
    draw = random.Random(1)
    letters = "etaoinshrdlcumwfgypbvk"
    words = [
        "".join(draw.choices(letters, k=min(12, 1 + int(draw.expovariate(0.25)))))
        for _ in range(VOCABULARY)
    ]
    weights = [1 / rank for rank in range(1, VOCABULARY + 1)]  # as frequent as words are (Zipf)
    with (folder / "talks.jsonl").open("w") as talks, (folder / "texts.jsonl").open("w") as texts:
        for _ in range(rows):
            drawn = draw.choices(words, weights, k=draw.randint(WORDS // 2, 2 * WORDS))
            cut = len(drawn) * 3 // 5
            talk = [
                {"role": "user", "content": " ".join(drawn[:cut]) + "?"},
                {"role": "assistant", "content": " ".join(drawn[cut:]) + "."},
            ]
            text = tokenizer.apply_chat_template(talk, tokenize=False)
            talks.write(json.dumps({"messages": talk}) + "\n")
            texts.write(json.dumps({"text": text}) + "\n")


def texts(folder: Path, base: str) -> dict[str, Any]:
    """Read texts, then encode them onto disk."""
    from finetune.data.blocks import encode_blocks
    from finetune.recipe.types import Data
    from finetune.tasks.examples import texts

    tokenizer = _tokenizer(base)
    begun = time.monotonic()
    given = texts(Data(path=str(folder / "texts.jsonl")))
    read = time.monotonic()
    blocks = encode_blocks(tokenizer, given, BLOCK, file=folder / "blocks.arrow")
    done = time.monotonic()
    # The peer adds no end tokens: they are no part of its work, nor of this rate.
    tokens = len(blocks) * BLOCK - len(given)
    return {"read": read - begun, "seconds": done - read, "tokens": tokens}


def conversations(folder: Path, base: str) -> dict[str, Any]:
    """Read conversations, then encode them onto disk."""
    from finetune.data.encoded import encode_rows
    from finetune.recipe.types import Data
    from finetune.tasks.examples import conversations

    tokenizer = _tokenizer(base)
    begun = time.monotonic()
    talks = conversations(Data(path=str(folder / "talks.jsonl")))
    read = time.monotonic()
    file = folder / "rows.arrow"
    rows = encode_rows(tokenizer, talks, 1024, mask="assistant", file=file)
    done = time.monotonic()
    return {"read": read - begun, "seconds": done - read, "tokens": sum(rows["length"])}


def peer(folder: Path, base: str) -> dict[str, Any]:
    """`datasets.map` with the tokenizer as it is."""
    import datasets

    tokenizer = _tokenizer(base)
    datasets.disable_progress_bars()
    begun = time.monotonic()
    texts = datasets.load_dataset(
        "json",
        data_files=str(folder / "texts.jsonl"),
        split="train",
        cache_dir=str(folder / f"cache-{os.getpid()}"),
    )
    read = time.monotonic()
    rows = texts.map(
        lambda batch: tokenizer(batch["text"], add_special_tokens=False),
        batched=True,
        remove_columns=["text"],
        load_from_cache_file=False,
    )
    done = time.monotonic()
    lengths = (len(ids) for batch in rows.iter(1000) for ids in batch["input_ids"])
    return {"read": read - begun, "seconds": done - read, "tokens": sum(lengths)}


def _tokenizer(base: str) -> Any:
    from finetune.models.tokenizers import load_tokenizer
    from finetune.recipe.types import Base

    return load_tokenizer(Base(model=base))[0]


def in_child(which: str, folder: Path, base: str) -> dict[str, float]:
    """Run one side in a fresh process; its figures with its peak memory."""
    environment = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    command = [sys.executable, __file__, "--child", which, "--folder", str(folder), "--base", base]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, in turn, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--base", default="tiny-mistral")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--child", choices=[*SIDES, "make"])
    asked = parser.parse_args()
    if asked.child == "make":
        return make(asked.folder, asked.rows, asked.base)
    if asked.child:
        work = {"texts": texts, "conversations": conversations, "peer": peer}[asked.child]
        found = work(asked.folder, asked.base)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        found |= {"memory": usage.ru_maxrss / 2**20, "cpu": usage.ru_utime + usage.ru_stime}
        sys.stdout.write(f"{json.dumps(found)}\n")
        return None
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        make(Path(folder), asked.rows, asked.base)
        rounds = [
            {which: in_child(which, Path(folder), asked.base) for which in SIDES}
            for _ in range(asked.rounds)
        ]
    rates: dict[str, list[float]] = {which: [] for which in SIDES}
    for each in rounds:
        for which, found in each.items():
            rates[which].append(found["tokens"] / found["seconds"])
            sys.stdout.write(
                f"{which}: {found['tokens']:,} tokens in {found['seconds']:.1f} s, "
                f"{rates[which][-1]:,.0f} tokens/s; read in {found['read']:.1f} s; "
                f"{found['cpu']:.1f} s of processor; peak memory {found['memory']:.2f} GB\n"
            )
    sys.stdout.write(f"{asked.rows:,} rows, median of rounds:\n")
    for which in SIDES[:-1]:
        ratio = statistics.median(a / b for a, b in zip(rates[which], rates["peer"], strict=True))
        sys.stdout.write(f"{which}: {ratio:.2f} times the rate of the peer\n")
    return None


if __name__ == "__main__":
    main()
