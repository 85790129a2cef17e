"""A real chain on a tiny random base: its rows, its recipe, the command line in this process."""

import json
from pathlib import Path

import yaml

from finetune import cli

COLOURS = ["red", "blue", "green", "black"]
ANSWERS = [
    {"prompt": f"Colour of lamp {n}{' please' * (n % 5)}?", "completion": f"{COLOURS[n % 4]}."}
    for n in range(16)
]
PAIRS = [
    {"prompt": row["prompt"], "chosen": row["completion"], "rejected": "no idea, sorry"}
    for row in ANSWERS
]
TRAIN = {"learning_rate": 1e-2, "num_train_epochs": 1, "save_steps": 1, "logging_steps": 1}


def write_rows(path, rows):
    """Rows as lines of JSON; a text stands as it is."""
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text)
    return str(path)


def settings(folder, base, kinds=("sft", "dpo", "merge", "evaluate"), steps=2):
    """A recipe of these kinds as plain data, to be changed and written; rows lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    answers = {"path": write_rows(folder / "answers.jsonl", ANSWERS)}
    pairs = {"path": write_rows(folder / "pairs.jsonl", PAIRS)}
    train = {**TRAIN, "num_train_epochs": steps / 4}
    models = ["base", *(kind for kind in kinds if kind != "evaluate")]
    scores = [{"task": "loss", "data": answers}, {"task": "preference", "data": pairs}]
    stages = {
        "sft": {"data": answers, "lora": {"r": 4, "lora_dropout": 0.1}, "train": train},
        "dpo": {"data": pairs, "train": {**train, "beta": 0.1}},
        "merge": {},
        "evaluate": {"models": models, "tasks": scores},
    }
    for kind in ("sft", "dpo"):
        stages[kind]["batch_size"] = 4
    return {
        "name": "tiny",
        "seed": 7,
        "output_dir": str(folder / "run"),
        "base": {"model": str(base)},
        # It is evaluated on what it learns, and its pairs tell by length.
        "audit": {"overlap": {"warn": 1}, "length_bias": {"warn": 1}},
        "stages": [{kind: stages[kind]} for kind in kinds],
    }


def write(folder, recipe):
    """The recipe's file."""
    path = Path(folder) / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return str(path)


def ends(*arguments):
    """The exit code of a command."""
    try:
        cli.main(arguments)
    except SystemExit as end:
        return end.code or 0
    return 0
