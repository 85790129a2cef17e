"""Copies a pretrained base from its run folder into the package, its weights in bfloat16.

python data/ship_base.py recipes/pretrain_tiny_mistral.yaml tiny-mistral
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune.chain.plan import make
from finetune.embedded import ASSETS
from finetune.errors import FinetuneError
from finetune.recipe import load

LARGEST = 8_000_000  # bytes of a shipped base, tokenizer included


def ship(recipe: str, name: str) -> int:
    """Copy the model of the recipe's last stage; returns the bytes it takes.

    Raises:
        FinetuneError: the recipe has not run to its end, or the base is too large to ship.
    """
    record = make(load(recipe)).steps[-1].record
    ref = record.model_ref() if record else None
    if ref is None or ref.base.model is None:
        raise FinetuneError("this recipe has not run yet", where=recipe, remedy="Run it first.")
    folder = ASSETS / "bases" / name
    model = AutoModelForCausalLM.from_pretrained(ref.base.model, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(ref.base.model).save_pretrained(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    if size > LARGEST:
        raise FinetuneError(f"{size} bytes are more than the {LARGEST} of a shipped base")
    return size


def main() -> None:
    """Copy one base and say its size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("name", help="folder below the package's assets/bases")
    given = parser.parse_args()
    print(f"{given.name}: {ship(str(given.recipe), given.name)} bytes")


if __name__ == "__main__":
    main()
