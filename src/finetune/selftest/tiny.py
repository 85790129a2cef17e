"""A tiny base of random weights with its rows, and the real stages run on them."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from finetune import stages
from finetune.job import Job, ModelRef, Result
from finetune.models.load import new_base
from finetune.models.tokenizers import train_tokenizer
from finetune.recipe import load
from finetune.recipe.types import Base

SEED = 7
SHAPE = {
    "model_type": "mistral",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
COLOURS = ("red", "blue", "green", "black")
ANSWERS = [  # of several lengths: what is wrong with padding and sums shows on no other rows
    {
        "prompt": f"Colour of lamp {n}{' please' * (n % 5)}?",
        "completion": f"It is{' very' * (n % 7)} {COLOURS[n % 4]}.",
    }
    for n in range(16)
]
PAIRS = [
    {"prompt": row["prompt"], "chosen": row["completion"], "rejected": "no idea, sorry"}
    for row in ANSWERS
]
NF4 = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
}
STEPS = 4
LORA: dict[str, Any] = {"r": 4, "lora_alpha": 8}
# In float32 throughout: sums in another order then differ in their last digits alone.
EXACT: dict[str, Any] = {
    "learning_rate": 1e-2,
    "max_steps": STEPS,
    "logging_steps": 1,
    "bf16": False,
}


def write(folder: Path) -> None:
    """The base and its rows."""
    tokenizer = train_tokenizer([json.dumps(row) for row in PAIRS], 400, "mistral")
    special = {
        name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")
    }
    base = Base(config={**SHAPE, **special}, dtype="float32")
    new_base(base, len(tokenizer), SEED).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    for name, rows in (("answers", ANSWERS), ("pairs", PAIRS)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def base(folder: Path, **more: Any) -> Base:
    """The base that `write` left, in float32 unless said otherwise."""
    return Base(**{"model": str(folder / "base"), "dtype": "float32", **more})


def sft(folder: Path, train: dict[str, Any] = EXACT, **more: Any) -> dict[str, Any]:
    """An sft stage as in a recipe."""
    data = {"path": str(folder / "answers.jsonl")}
    return {"sft": {"data": data, "lora": LORA, "batch_size": 8, "train": train, **more}}


def recipe_file(folder: Path, *blocks: dict[str, Any]) -> Path:
    """A recipe of these stages, to be read as any other: every setting is used or refused."""
    whole = {
        "name": "selftest",
        "seed": SEED,
        "output_dir": str(folder / "run"),
        "base": {"model": str(folder / "base"), "dtype": "float32"},
        "stages": list(blocks),
    }
    path = folder / "selftest.yaml"
    path.write_text(json.dumps(whole), encoding="utf-8")  # JSON is YAML, too
    return path


def run(folder: Path, name: str, model: Base | Result, *blocks: dict[str, Any]) -> Result:
    """Run the last of these stages in the folder `name`, from a base or from the one before it."""
    stage = load(recipe_file(folder, *blocks)).stages[-1]
    ref = ModelRef(base=model) if isinstance(model, Base) else model.model
    assert ref is not None
    out = folder / name
    out.mkdir(exist_ok=True)
    job = Job(name=stage.name, out=out, seed=SEED, model=ref)
    module = import_module(stages.MODULES[stage.kind])
    module.check(stage, job)
    result: Result = module.run(stage, job)
    return result


def curve(stage_folder: Path, name: str) -> list[float]:
    """The values of this name that a training stage logged, step by step."""
    lines = (stage_folder / "history.jsonl").read_text("utf-8").splitlines()
    return [entry[name] for entry in map(json.loads, lines) if name in entry]
