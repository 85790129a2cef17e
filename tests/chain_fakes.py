"""Stages that take milliseconds: every step of their "training" is one more hash."""

import hashlib
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from finetune.errors import DataError, FinetuneError
from finetune.job import ModelRef, Result
from finetune.recipe.types import Base, Candidate, Data, Dpo, Evaluate, Merge, Recipe, Score, Sft
from finetune.scoring.files import COMPARISON, write_object

STEPS = 5


def check(stage, job):
    if told := getattr(stage, "train", {}).get("check"):
        raise FinetuneError(told, remedy="Mend it.")


def run(stage, job):
    settings = getattr(stage, "train", {})
    act(settings.get("act", ""), job)
    start = value_of(job.model)
    if isinstance(stage, Evaluate):
        losses = {name: number(value_of(job.models[name])) for name in job.models}
        write_object(job.out / COMPARISON, {"loss": compared(losses)})
        return Result(scores={name: {"loss loss": loss} for name, loss in losses.items()})
    value = train(start, stage, job, settings.get("pause", 0.0), settings.get("steps", STEPS))
    folder = job.out / "model"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "value.txt").write_text(value)
    if isinstance(stage, Merge):
        return Result(model=ModelRef(base=Base(model=str(folder))), facts={"value": value})
    return Result(model=replace(job.model, adapters=(folder,)), facts={"value": value})


def compared(losses):
    """A comparison of one metric, as an evaluation leaves it."""
    models = {name: {"loss": {"mean": x, "low": x, "high": x}} for name, x in losses.items()}
    metrics = [{"name": "loss", "better": "lower", "unit": "nats"}]
    part = {"metrics": metrics, "rows": 1, "against": next(iter(models)), "models": models}
    return {**part, "pairs": {}, "baselines": []}


def train(value, stage, job, pause, steps):
    """Like a trainer: a checkpoint after each step, and on from the last one."""
    step = 0
    for folder in job.out.glob("checkpoints/checkpoint-*"):
        state = folder / "trainer_state.json"
        if (folder / "whole").exists() and (found := json.loads(state.read_text()))[
            "global_step"
        ] > step:
            step, value = found["global_step"], found["value"]
    while step < steps:
        time.sleep(pause)
        step += 1
        value = hashlib.sha256(f"{value} {stage.kind} {step} {job.seed}".encode()).hexdigest()
        folder = job.out / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        state = {"global_step": step, "max_steps": steps, "value": value}
        (folder / "trainer_state.json").write_text(json.dumps(state))
        (folder / "whole").touch()
    return value


def act(what, job):
    match what:
        case "data":
            raise DataError("'chosen' is empty", where="pairs.jsonl line 3", remedy="Fix the row.")
        case "bug":
            raise RuntimeError("shapes differ\nin the second line")
        case "memory":
            raise MemoryError
        case "gpu":
            raise RuntimeError("CUDA error: unknown error\nDevice-side assertion tracking was off.")
        case "torch":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes")
        case "disk":
            raise OSError(28, "No space left on device", str(job.out))
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "deaf":
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            time.sleep(60)
        case "tidy":
            try:
                (job.out / "ready").write_text(str(os.getpid()))
                time.sleep(60)
            except KeyboardInterrupt:
                time.sleep(0.5)
                (job.out / "tidied").touch()
                raise
        case "":
            return
        case _:
            raise AssertionError(what)


def value_of(model):
    folder = model.adapter or Path(model.base.model)
    return (folder / "value.txt").read_text()


def number(value):
    return int(value[:6], 16) / 1e6


def use(monkeypatch):
    """Put the fakes into the table of stages; their rows are no rows to be audited."""
    monkeypatch.setattr("finetune.chain.inside._audited", lambda plan: [])
    for kind in ("pretrain", "sft", "dpo", "evaluate", "merge"):
        monkeypatch.setitem(__import__("finetune.stages").stages.MODULES, kind, __name__)


def recipe(folder, **changes):
    """A recipe over files in `folder`, made there if they are not; `sft` and `dpo` are settings."""
    base = folder / "base"
    base.mkdir(exist_ok=True, parents=True)
    weights = "\2\0\0\0\0\0\0\0{}"  # of safetensors, with no tensor in it
    files = {"config.json": "{}", "value.txt": "0000000", "model.safetensors": weights}
    for name, text in files.items():
        if not (base / name).exists():
            (base / name).write_text(text)
    for name in ("train.jsonl", "pairs.jsonl"):
        if not (folder / name).exists():
            (folder / name).write_text('{"a": 1}\n')
    test = Data(path=str(folder / "train.jsonl"))
    names = changes.pop("models", ("base", "sft", "dpo"))
    models = tuple(Candidate(name=name) for name in names)
    stages = (
        Sft(name="sft", data=Data(path=str(folder / "train.jsonl")), train=changes.pop("sft", {})),
        Dpo(name="dpo", data=Data(path=str(folder / "pairs.jsonl")), train=changes.pop("dpo", {})),
        Evaluate(name="evaluate", tasks=(Score(task="loss", data=test),), models=models),
        Merge(name="merge"),
    )
    settings = {"name": "fake", "base": Base(model=str(base)), "stages": stages}
    return Recipe(**{**settings, "output_dir": str(folder / "run"), **changes})
