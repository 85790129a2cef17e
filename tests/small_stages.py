"""Stages of two steps on a few rows, run as the chain runs them, on the bases of `shapes.py`."""

import json
from importlib import import_module

from finetune.job import Job
from finetune.recipe.types import Data, Dpo, Sft

LORA = {"r": 4, "lora_alpha": 8}
TRAIN = {"learning_rate": 1e-2, "max_steps": 2, "logging_steps": 1}


def write_rows(folder):
    """Files of answers and of pairs; returns the folder."""
    answers = [{"prompt": f"Lamp {n}?", "completion": f"It is {n % 4}."} for n in range(8)]
    pairs = [{"prompt": r["prompt"], "chosen": r["completion"], "rejected": "no"} for r in answers]
    for name, content in (("answers", answers), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in content))
    return folder


def run(stage, model, folder, **more):
    """Check and run a stage in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    module = import_module(f"finetune.stages.{stage.kind}")
    job = Job(name=stage.name, out=folder, seed=7, model=model, **more)
    module.check(stage, job)
    return module.run(stage, job)


def sft(rows, train=TRAIN, **more):
    """An sft stage, of LoRA unless said otherwise."""
    data = Data(path=str(rows / "answers.jsonl"))
    return Sft(name="sft", data=data, batch_size=4, train=train, **{"lora": LORA, **more})


def dpo(rows, train=TRAIN, **more):
    """A dpo stage; it goes on training the adapter before it unless said otherwise."""
    data = Data(path=str(rows / "pairs.jsonl"))
    return Dpo(name="dpo", data=data, batch_size=4, train=train, **more)


def logits(model):
    """Of two rows of tokens, in float32."""
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.arange(5, 45).reshape(2, 20)).logits.float()
