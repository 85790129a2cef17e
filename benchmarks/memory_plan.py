"""Memory that `finetune plan` tells, against what stages take at most.

    python benchmarks/memory_plan.py [--only NAME …] [--write docs/results/memory.md]

Runs sft, dpo, merge, evaluation and export on configurations that differ in size, number format,
length, batch, checkpointing and sharing, each stage in a process of its own, and compares the
largest resident size of that process (of rank 0, where there are two) and its time with the plan
made before. On a CPU; on a GPU, see `benchmarks/gpu.py`.

Blocks that are freed go back to the system at once from the size on at which the C library begins
to ask for them one by one (`MALLOC_MMAP_THRESHOLD_`, which it would raise as it goes), so that what
is measured is what is in use. `--as-usual` leaves that to the C library.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072"}
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
SHAPES = {
    "60M": {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 16},
    "150M": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 20},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One configuration: the base, and how it is trained."""

    base: str
    dtype: str = "float32"
    quantization: dict[str, Any] | None = None
    batch_size: int = 4
    max_length: int = 256
    train: dict[str, Any] = field(default_factory=dict)
    adapter: bool = True
    launch: str = ""  # a profile of two processes


# In a second epoch the longest batch comes again, when the optimizer's state is there as well: of
# all weights that is twice their size.
TWICE = {"num_train_epochs": 2}
ALL: dict[str, Any] = {"adapter": False, "batch_size": 4, "train": TWICE}
CASES = {
    "60M nf4": Case(base="60M", quantization=NF4, batch_size=8),
    "60M bf16": Case(base="60M", dtype="bfloat16", max_length=512),
    "60M fp32, checkpointed": Case(base="60M", train={"gradient_checkpointing": True}),
    "60M fp32": Case(base="60M", batch_size=6),
    "150M nf4": Case(base="150M", quantization=NF4, batch_size=2),
    "150M fp32, all weights": Case(base="150M", adapter=False, batch_size=2, train=TWICE),
    "60M fp32, all weights, 2 processes": Case(base="60M", launch="cpu_2", **ALL),
    "60M fp32, all weights, ZeRO-2": Case(base="60M", launch="zero2", **ALL),
    "60M fp32, all weights, ZeRO-3": Case(base="60M", launch="zero3", **ALL),
    "tiny nf4": Case(base="tiny-mistral", quantization=NF4, batch_size=16, max_length=512),
}


@dataclass(frozen=True)
class Row:
    """One stage of one case, in bytes."""

    case: str
    stage: str
    planned: int
    measured: int
    seconds: tuple[float, float]  # planned and measured

    @property
    def error(self) -> float:
        """Of the plan, as a share of what was measured."""
        return self.planned / self.measured - 1


def make_base(name: str, folder: Path) -> str:
    """A base of random weights in a folder, with a built-in base's tokenizer."""
    if name not in SHAPES:
        return name
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from finetune.embedded import base_folder

    place = folder / name
    if not place.exists():
        tokenizer = AutoTokenizer.from_pretrained(base_folder("tiny-mistral"))
        config = AutoConfig.for_model(
            "llama",
            vocab_size=len(tokenizer),
            num_attention_heads=8,
            num_key_value_heads=4,
            max_position_embeddings=1024,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **SHAPES[name],
        )
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(place)
        tokenizer.save_pretrained(place)
    return str(place)


def _made_apart(name: str, folder: Path) -> str:
    """As `make_base`, in another process: in this one plans look up what the libraries take."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(make_base, name, folder).result()


def recipe(name: str, case: Case, folder: Path) -> Path:
    """The chain of a case, a few steps each."""
    train = {"max_length": case.max_length, "num_train_epochs": 1, "save_steps": 9, **case.train}
    data = {
        "task": "samsum",
        "rows": 2 * case.batch_size,
    }  # every row is trained on, the longest too
    trained: dict[str, Any] = {"batch_size": case.batch_size, "train": train}
    preferences = {**data, "sample": "samsum_preferences"}
    evaluation = {
        "models": ["base", "sft"],
        "batch_size": 16,
        "generation": {"max_new_tokens": 8},
        "tasks": [{"task": "samsum", "rows": 16}],
    }
    last: list[dict[str, Any]] = [] if case.launch else [{"evaluate": evaluation}]
    stages: list[dict[str, Any]] = [{"sft": {"data": data, **trained}}]
    if case.adapter:
        stages[0]["sft"]["lora"] = {"r": 16}
        stages.append({"dpo": {"data": preferences, **trained}})
        stages.append({"merge": {"tolerance": None}})
        leaving = {"formats": ["safetensors", "gguf"], "gguf": ["q8_0"], "prompts": 2}
        last = [{"evaluate": evaluation}, {"export": {"from": "merge", **leaving}}]
    base: dict[str, Any] = {"model": _made_apart(case.base, folder), "dtype": case.dtype}
    if case.quantization:
        base["quantization"] = case.quantization
    content = {
        "name": name.replace(" ", "-").replace(",", ""),
        "output_dir": str(folder / "runs" / name.replace(" ", "-")),
        "base": base,
        "stages": [*stages, *last],
    }
    file = folder / f"{content['name']}.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def place(launch: str) -> Any:
    """This machine, or its half under a launch profile of two processes."""
    from finetune.chain.forecast import Place, here
    from finetune.launch import profiles, sharing

    if not launch:
        return Place(machine=here())
    half = replace(here(), memory=here().memory // 2)
    return Place(machine=half, processes=2, sharing=sharing.of(profiles.find(launch)))


def rows(name: str, file: Path, environment: dict[str, str]) -> Iterator[Row]:
    """Plan, run, compare."""
    from finetune.chain.forecast import told
    from finetune.chain.plan import make
    from finetune.chain.record import read
    from finetune.recipe import load

    plan, launch = make(load(file)), CASES[name].launch
    planned = {each.stage: each for each in told(plan, place(launch))}
    how = ["--launch", launch, "--num-processes", "2"] if launch else []
    done = subprocess.run(
        [sys.executable, "-m", "finetune", "run", str(file), *how],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{name}: {done.stderr}")
    for folder in sorted(plan.store.folder.glob("*/record.json")):
        record = read(folder.parent)
        assert record is not None
        foretold, made = planned[record.name], record.made
        seconds = (foretold.seconds, made["seconds"])
        yield Row(name, record.name, foretold.total, made["peak_memory"]["ram"], seconds)


def table(found: list[Row], times: bool = False) -> str:
    """As markdown."""
    head = ["configuration", "stage", "planned, MB", "measured, MB", "error"]
    lines = [head + ["planned, s", "took, s"] * times]
    lines.append(["---"] * len(lines[0]))
    for row in found:
        megabytes = [f"{each / 1e6:,.0f}" for each in (row.planned, row.measured)]
        seconds = [f"{each:.1f}" for each in row.seconds if times]
        lines.append([row.case, row.stage, *megabytes, f"{row.error:+.1%}", *seconds])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write(found: list[Row], file: Path) -> None:
    """Put the rows in place of those of the same configurations, in the order of `CASES`."""
    before, _, after = file.read_text("utf-8").partition("| configuration")
    head, rule, *new = table(found).splitlines(keepends=True)
    run = {row.case for row in found}
    kept = [line for line in after.splitlines(keepends=True)[2:] if _case(line) not in run]
    lines = sorted([*kept, *new], key=lambda line: list(CASES).index(_case(line)))
    file.write_text(before + head + rule + "".join(lines), encoding="utf-8")


def _case(line: str) -> str:
    return line.removeprefix("| ").partition(" | ")[0]


def say(text: str) -> None:
    """On standard output, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--as-usual", action="store_true")
    parser.add_argument("--write", type=Path)
    parsed = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    how = {} if parsed.as_usual else GIVEN_BACK
    started, found = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        for name in parsed.only:
            new = list(rows(name, recipe(name, CASES[name], Path(folder)), how))
            found += new
            say(table(new, times=True))
            if parsed.write:
                write(found, parsed.write)
    worst = max(found, key=lambda row: abs(row.error))
    say(f"largest error {worst.error:+.1%} ({worst.case}, {worst.stage})")
    say(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
