"""Supervised fine-tuning beside plain TRL: the same rows, model, adapter and steps in one run.

TRL with its defaults (gradient checkpointing, rows in random order), TRL with the options set by
hand that help on this machine, and this project's stage.

    python benchmarks/sft_speed.py [--rows 256]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from finetune.stages.quiet import hush

hush()

import datasets  # noqa: E402
from peft import LoraConfig  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

from finetune.job import Job, ModelRef  # noqa: E402
from finetune.models.load import open_base  # noqa: E402
from finetune.models.tokenizers import load_tokenizer  # noqa: E402
from finetune.recipe.types import Base, Data, Sft  # noqa: E402
from finetune.stages import sft  # noqa: E402
from finetune.tasks.examples import conversations  # noqa: E402

BASE = Base(model="tiny-mistral")
LORA = {"r": 32, "lora_alpha": 64, "target_modules": "all-linear"}
BATCH, RATE = 16, 1e-3


def ours(data: Data, folder: str) -> tuple[float, float]:
    """Seconds of training and the last loss of our stage."""
    train = {"learning_rate": RATE, "num_train_epochs": 1, "max_length": 512}
    stage = Sft(name="sft", data=data, lora=LORA, batch_size=BATCH, train=train)
    facts = sft.run(
        stage, Job(name="sft", out=Path(folder), seed=1, model=ModelRef(base=BASE))
    ).facts
    return facts["train_seconds"], facts["loss_last"]


def plain(data: Data, folder: str, **options: Any) -> tuple[float, float]:
    """The same by TRL alone."""
    talks = [talk.messages for talk in conversations(data)]
    rows = [{"prompt": talk[:-1], "completion": talk[-1:]} for talk in talks]
    config = SFTConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        learning_rate=RATE,
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
        seed=1,
        **options,
    )
    trainer = SFTTrainer(
        model=open_base(BASE),
        args=config,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=load_tokenizer(BASE)[0],
        peft_config=LoraConfig(task_type="CAUSAL_LM", **LORA),
    )
    begun = time.monotonic()
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return time.monotonic() - begun, losses[-1]


def main() -> None:
    """Measure the three in turn and write a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=256)
    data = Data(task="samsum", rows=parser.parse_args().rows)
    best = {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"}
    found = {}
    for name, measure, options in (
        ("TRL, defaults", plain, {}),
        ("TRL, set by hand", plain, best),
        ("finetune", ours, {}),
    ):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(data, folder, **options)
    own = found["finetune"][0]
    for name, (seconds, loss) in found.items():
        sys.stdout.write(f"{name:<18} {seconds:6.1f} s  x{seconds / own:.2f}  loss {loss:.3f}\n")


if __name__ == "__main__":
    main()
