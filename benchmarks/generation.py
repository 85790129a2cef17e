"""Writing answers: this project's batches beside `generate` row by row and transformers' pipeline.

The same model, prompts and settings in one run, and the same answers or it stops. By default the
model is that of the shipped recipe, which is trained first where `runs/samsum` does not have it.

    python benchmarks/generation.py [--model FOLDER] [--rows 128] [--batch-size 64]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline

from finetune.chain.run import run
from finetune.data.shorten import render
from finetune.models.generate import generate, generation_config
from finetune.models.load import open_base
from finetune.models.tokenizers import load_tokenizer
from finetune.recipe import load
from finetune.recipe.types import Base, Score
from finetune.tasks import scored

RECIPE = Path(__file__).parents[1] / "recipes" / "samsum.yaml"
MAX_NEW_TOKENS = 128
TIMES = 2  # the better one counts: another program may have taken the processor


def trained() -> str:
    """The merged model of the shipped recipe."""
    model = run(load(RECIPE)).records["merge"].model_ref()
    assert model is not None
    return str(model.base.model)


def timed(work: Callable[[], list[str]]) -> tuple[float, list[str]]:
    """The least seconds, and what was written."""
    best, written = float("inf"), []
    for _ in range(TIMES):
        start = time.perf_counter()
        written = work()
        best = min(best, time.perf_counter() - start)
    return best, written


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a folder with a model that writes summaries")
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=64)
    given = parser.parse_args()

    base = Base(model=given.model or trained(), dtype="float32")
    tokenizer, _ = load_tokenizer(base)
    model: Any = open_base(base)
    score = Score(task="samsum", rows=given.rows)
    task = scored.written(score)
    rows = scored.rows(score, scored.examples(score))
    talks = [[{"role": "user", "content": task.prompt(row)}] for row in rows]
    prompts = [render(tokenizer, talk, answer_follows=True) for talk in talks]
    settings = {"max_new_tokens": MAX_NEW_TOKENS}
    config = generation_config(tokenizer, settings)
    model.generation_config = config

    def ours() -> list[str]:
        answers = generate(
            model, tokenizer, prompts, settings=settings, batch_size=given.batch_size, title=""
        )
        return [each.text for each in answers]

    def row_by_row() -> list[str]:
        written = []
        for prompt in prompts:
            ids = torch.tensor([prompt])
            with torch.inference_mode():
                out = model.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config
                )
            text = tokenizer.decode(out[0, len(prompt) :], skip_special_tokens=True)
            written.append(text.strip())
        return written

    pipe = pipeline(
        "text-generation", model=model, tokenizer=tokenizer, batch_size=given.batch_size
    )

    def by_pipeline() -> list[str]:
        found = pipe(talks, generation_config=config, return_full_text=False)
        return [each[0]["generated_text"].strip() for each in found]

    seconds, right = timed(ours)
    sys.stdout.write(f"{'':<28}{'rows/s':>8}{'slower than ours':>18}\n")
    sys.stdout.write(f"{'finetune':<28}{len(right) / seconds:>8.1f}\n")
    others = {"generate, row by row": row_by_row, "transformers pipeline": by_pipeline}
    for name, work in others.items():
        other, written = timed(work)
        if written != right:
            raise SystemExit(f"{name} wrote other answers")
        line = f"{name:<28}{len(right) / other:>8.1f}{other / seconds:>17.2f}x\n"
        sys.stdout.write(line)


if __name__ == "__main__":
    main()
