"""Speed beside TRL's own trainers: the same rows, model, adapter and steps, in turn.

    python benchmarks/against_trl.py [--look tiny|nf4|long] [--stage sft|dpo] [--rounds 3]

Each in a process of its own: TRL as it comes (its defaults, and what a CPU needs), TRL with the
options set by hand that help on this machine, the same with the rows in this project's order, which
must end in the same loss, and this project's stages as they come; of dpo once more with another
beta, for which the reference was asked already. Dpo starts from one trained adapter in all. Looks:
dialogue summaries on tiny-mistral, the same on it in 4 bits, and rows of some 500 tokens on 50
million random weights. Seconds are those from rows to a
trained adapter, without imports: reading, tokenising, loading, the reference's log-probabilities
and the check before the first step are in them. Losses are those of the trained adapters on rows
that none has seen.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
LORA = {"r": 32, "lora_alpha": 64, "target_modules": "all-linear"}
BATCH = 16
TRAIN = {
    "sft": {"learning_rate": 1e-3, "num_train_epochs": 1, "max_length": 1024},
    "dpo": {"learning_rate": 1e-4, "num_train_epochs": 1, "max_length": 1024, "beta": 0.1},
}
WAYS = {
    "defaults": "TRL, defaults",
    "by_hand": "TRL, set by hand",
    "our_order": "TRL, our order",
    "ours": "finetune",
    "again": "finetune, again",  # of dpo alone, with another beta
}
WITHOUT_GPU = {"use_cpu": True, "bf16": False}  # what TRL then needs
# What of TRL's options was found to be best on two cores. Its pairs cannot be grouped by length.
BY_HAND: dict[str, Any] = {
    "gradient_checkpointing": False,
    "per_device_train_batch_size": BATCH,
    "gradient_accumulation_steps": 1,
}
LONG = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": BATCH // 4}
# Rows of sft, pairs of dpo trained on, dialogues put together in one row, rows unseen.
LOOKS = {"tiny": (192, 96, 1, 48), "nf4": (192, 96, 1, 48), "long": (16, 16, 3, 16)}


def main() -> None:
    """Measure all ways in turn, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--look", choices=LOOKS, action="append")
    parser.add_argument("--stage", choices=TRAIN, action="append")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1, help="each in turn so often: the median")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        sys.stdout.write("\n" + json.dumps(measure(json.loads(given.measure))) + "\n")
        return
    sys.stdout.write(f"{'look':<5} {'stage':<5} {'way':<17}  seconds   of CPU ours/this")
    sys.stdout.write("  steps  unseen loss\n")
    with tempfile.TemporaryDirectory() as folder:
        found = [
            row
            for look in given.look or LOOKS
            for row in looked(look, given.stage or list(TRAIN), given, Path(folder) / look)
        ]
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def looked(
    look: str, stages: list[str], given: argparse.Namespace, folder: Path
) -> Iterator[dict[str, Any]]:
    """The figures of one look, printed as they come."""
    for number in range(given.rounds):
        (folder / str(number)).mkdir(parents=True)
    base = in_own_process({"what": "prepare", "look": look, "folder": str(folder)})
    start = ""
    for stage in ("sft", "dpo"):
        if stage not in stages and not (stage == "sft" and "dpo" in stages):
            continue
        spec = {"what": "train", "stage": stage, "start": start, "seed": given.seed, **base}
        tried = ways(stage) if stage in stages else ["ours"]
        rounds = [
            {
                way: in_own_process(
                    {**spec, "way": way, "out": str(folder / str(number) / f"{stage}-{way}")}
                )
                for way in tried
            }
            for number in range(given.rounds if stage in stages else 1)
        ]
        found = {way: middle([each[way] for each in rounds]) for way in tried}
        start = found["ours"]["adapter"]
        if stage in stages:
            yield from told(look, stage, found)


def ways(stage: str) -> list[str]:
    """What is measured of a stage."""
    return [way for way in WAYS if way != "again" or stage == "dpo"]


def middle(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The one of the median time."""
    return sorted(rows, key=lambda row: row["seconds"])[len(rows) // 2]


def told(look: str, stage: str, found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A line for each way; the ratio is of this project's time to that one's."""
    for way, row in found.items():
        row |= {"look": look, "stage": stage, "way": way}
        row["ours_to_this"] = round(found["ours"]["seconds"] / row["seconds"], 3)
        sys.stdout.write(
            f"{look:<5} {stage:<5} {WAYS[way]:<17} {row['seconds']:8.1f} {row['cpu_seconds']:8.1f}"
            f" {row['ours_to_this']:9.2f} {row['steps']:6} {row['loss']:12.4f}\n"
        )
        sys.stdout.flush()
        yield row


def in_own_process(spec: dict[str, Any]) -> Any:
    """Run this file once more for one measurement."""
    command = [sys.executable, __file__, "--measure", json.dumps(spec)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """One measurement, in this process."""
    from finetune.stages.quiet import hush

    hush()
    if spec.pop("what") == "prepare":
        return prepare(**spec)
    import finetune.stages.dpo
    import finetune.stages.sft  # noqa: F401 - imports are not part of the time

    begun, before = time.monotonic(), time.process_time()
    way = ours if spec["way"] in ("ours", "again") else plain
    model, steps, adapter = way(spec)
    seconds, busy = time.monotonic() - begun, time.process_time() - before
    loss = unseen_loss(model(), spec)
    found = {"seconds": round(seconds, 2), "cpu_seconds": round(busy, 2)}
    return {**found, "steps": steps, "loss": loss, "adapter": adapter}


def prepare(look: str, folder: str) -> dict[str, Any]:
    """Files of rows, and the base."""
    from finetune.models.load import new_base
    from finetune.models.tokenizers import load_tokenizer
    from finetune.recipe.types import Base, Data
    from finetune.tasks.examples import conversations, pairs

    rows, chosen, together, unseen = LOOKS[look]
    talks = conversations(Data(task="samsum", rows=(rows + unseen) * together))
    preferred = pairs(Data(task="samsum", sample="samsum_preferences", rows=chosen + unseen))
    sft = [{"prompt": talk.messages[:-1], "completion": talk.messages[-1:]} for talk in talks]
    sft = [longer(sft[at : at + together]) for at in range(0, len(sft), together)]
    before = sft if together > 1 else [{"prompt": []}] * len(preferred)
    dpo = [
        {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        for pair in preferred
    ]
    dpo = [
        longer([first, pair]) if together > 1 else pair
        for first, pair in zip(before, dpo, strict=False)
    ]
    for name, all_rows, count in (("sft", sft, rows), ("dpo", dpo, chosen)):
        write(Path(folder) / f"{name}.jsonl", all_rows[:count])
        write(Path(folder) / f"{name}-unseen.jsonl", all_rows[count:])
    base = Base(model="tiny-mistral")
    if look == "long":
        shape = {"hidden_size": 640, "intermediate_size": 1792, "num_hidden_layers": 10}
        heads = {"num_attention_heads": 10, "num_key_value_heads": 10, "head_dim": 64}
        tokenizer, _ = load_tokenizer(base)
        made = Base(config={"model_type": "mistral", **shape, **heads}, dtype="float32")
        new_base(made, len(tokenizer), seed=1).save_pretrained(Path(folder) / "base")
        tokenizer.save_pretrained(Path(folder) / "base")
        base = Base(model=str(Path(folder) / "base"))
    quantization = NF4 if look == "nf4" else None
    found = {"model": base.model, "quantization": quantization, "rows": folder}
    return {**found, "by_hand": LONG if look == "long" else {}}


def longer(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The last row, with the questions of all in its prompt."""
    texts = "\n\n".join(message["content"] for row in rows for message in row["prompt"])
    return {**rows[-1], "prompt": [{"role": "user", "content": texts}]}


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as JSON lines."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read(file: Path) -> list[dict[str, Any]]:
    """Rows of JSON lines."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def base_of(spec: dict[str, Any]) -> Any:
    """The base of a measurement."""
    from finetune.recipe.types import Base

    return Base(model=spec["model"], quantization=spec["quantization"])


def ours(spec: dict[str, Any]) -> tuple[Any, int, str]:
    """A stage as the chain runs it: (opener of its model, steps, adapter)."""
    from finetune.job import Job, ModelRef
    from finetune.models.load import open_model
    from finetune.stages import dpo, sft

    name, adapters = spec["stage"], (Path(spec["start"]),) if spec["start"] else ()
    ref = ModelRef(base=base_of(spec), adapters=adapters)
    job = Job(name=name, out=Path(spec["out"]), seed=spec["seed"], model=ref)
    job.out.mkdir()
    done = (dpo if name == "dpo" else sft).run(stage_of(spec), job)
    assert done.model and done.model.adapter
    made = done.model
    return partial(open_model, made), done.facts["steps"], str(made.adapter)


def stage_of(spec: dict[str, Any]) -> Any:
    """The stage of a measurement, as a recipe has it."""
    from finetune.recipe.types import Data, Dpo, Sft

    common: dict[str, Any] = {
        "name": spec["stage"],
        "data": Data(path=f"{spec['rows']}/{spec['stage']}.jsonl"),
        "batch_size": BATCH,
        "train": {**TRAIN[spec["stage"]], **({"beta": 0.2} if spec["way"] == "again" else {})},
    }
    return Dpo(**common) if spec["stage"] == "dpo" else Sft(lora=LORA, **common)


def plain(spec: dict[str, Any]) -> tuple[Any, int, str]:
    """The same by TRL's trainers alone, as their documentation shows."""
    import datasets
    from peft import LoraConfig, PeftModel
    from transformers import set_seed
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    from finetune.chain.child import has_accelerator
    from finetune.models.load import open_base
    from finetune.models.tokenizers import load_tokenizer

    name, base = spec["stage"], base_of(spec)
    rows = read(Path(f"{spec['rows']}/{name}.jsonl"))
    options: dict[str, Any] = {"gradient_accumulation_steps": BATCH // 8}  # 8 rows at a time
    if spec["way"] in ("by_hand", "our_order"):
        options = {**BY_HAND, **spec.get("by_hand", {})}
    if spec["way"] == "by_hand" and name == "sft":
        options["train_sampling_strategy"] = "group_by_length"
    if spec["way"] == "our_order":
        options["train_sampling_strategy"] = "sequential"
        rows = [rows[number] for number in our_order(rows, spec)]
    config = (DPOConfig if name == "dpo" else SFTConfig)(
        output_dir=spec["out"],
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=spec["seed"],
        **({} if has_accelerator() else WITHOUT_GPU),
        **TRAIN[name],
        **options,
    )
    given: dict[str, Any] = {
        "args": config,
        "train_dataset": datasets.Dataset.from_list(rows),
        "processing_class": load_tokenizer(base)[0],
    }
    model = open_base(base)
    set_seed(spec["seed"])  # a fresh adapter begins as ours does
    if name == "dpo":
        model = PeftModel.from_pretrained(model, spec["start"], is_trainable=True)
        trainer: Any = DPOTrainer(model=model, **given)
    else:
        lora = LoraConfig(task_type="CAUSAL_LM", **LORA)
        trainer = SFTTrainer(model=model, peft_config=lora, **given)
    trainer.train()
    return trainer.model.eval, trainer.state.global_step, ""


def our_order(rows: list[dict[str, Any]], spec: dict[str, Any]) -> list[int]:
    """Numbers of the rows, in the order in which a stage takes them."""
    from finetune.data.shorten import render
    from finetune.models.tokenizers import load_tokenizer
    from finetune.stages.training import order, plan

    tokenizer, _ = load_tokenizer(base_of(spec))
    sides = ("chosen", "rejected") if spec["stage"] == "dpo" else ("completion",)
    lengths = [
        max(len(render(tokenizer, [*row["prompt"], *row[side]])) for side in sides) for row in rows
    ]
    settings = TRAIN[spec["stage"]]
    return order(plan(settings, len(rows), BATCH, None), lengths, BATCH, spec["seed"])


def unseen_loss(model: Any, spec: dict[str, Any]) -> float:
    """Nats per token of the answers; of dpo -log sigmoid of beta times the reward's margin."""
    from finetune.data.examples import Conversation
    from finetune.data.tokens import encode
    from finetune.job import ModelRef
    from finetune.models.likelihood import likelihoods
    from finetune.models.load import open_model
    from finetune.models.tokenizers import load_tokenizer

    tokenizer, _ = load_tokenizer(base_of(spec))
    file = Path(f"{spec['rows']}/{spec['stage']}-unseen.jsonl")
    rows = read(file)
    answers = ("chosen", "rejected") if spec["stage"] == "dpo" else ("completion",)
    talks = [Conversation([*row["prompt"], *row[answer]]) for row in rows for answer in answers]
    encoded = encode(tokenizer, talks, 1024)
    found = likelihoods(model, encoded, BATCH, "unseen")
    if spec["stage"] == "sft":
        return -sum(each.logprob for each in found) / sum(each.tokens for each in found)
    reference = open_model(ModelRef(base=base_of(spec), adapters=(Path(spec["start"]),)))
    before = likelihoods(reference, encoded, BATCH, "reference")
    gains = [ours.logprob - theirs.logprob for ours, theirs in zip(found, before, strict=True)]
    margins = [a - b for a, b in zip(gains[::2], gains[1::2], strict=True)]
    beta = TRAIN["dpo"]["beta"]
    return sum(math.log1p(math.exp(-beta * margin)) for margin in margins) / len(margins)


if __name__ == "__main__":
    main()
