"""Checks of training: the same work done in two ways that must end alike."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors.torch import load_file

from finetune.errors import FinetuneError
from finetune.job import WHOLE, Result
from finetune.models.hardware import on_cpu
from finetune.recipe.types import MERGED
from finetune.selftest import tiny
from finetune.selftest.readings import Reading
from finetune.stages import batches
from finetune.stages.dpo import STEP_0_TOLERANCE
from finetune.stages.merge import EXACT
from finetune.stages.training import CHECKPOINTS

LARGEST_GAP, MEAN_GAP = 1e-4, 1e-5  # of curves: float32 sums in another order
STEP_GAP = 1e-5  # of weights after one step of plain gradient descent
LAUNCHER_SECONDS = 8.0  # for its processes to end, within what is given to this one
# `finetune` in a process that the system ends with the one that started it.
FINETUNE = """
import signal, sys
from finetune.chain.child import die_with
die_with(int(sys.argv.pop(1)), signal.SIGTERM)
from finetune.cli import main
main()
"""


def accumulation(folder: Path) -> list[Reading]:
    """Eight rows a step at once, and two at a time."""
    for name, at_once in (("whole", 8), ("parts", 2)):
        with patch.dict(batches.ROWS_AT_ONCE, {"cpu": at_once, "cuda": at_once}):
            tiny.run(folder, name, tiny.base(folder), tiny.sft(folder))
    return _curves(folder / "whole", folder / "parts")


def ranks(folder: Path) -> list[Reading]:
    """One process, and two under the launcher: GPUs where there are two, else on the CPU."""
    gpus = torch.cuda.device_count() >= 2
    with patch.dict(os.environ, {} if gpus else {"ACCELERATE_USE_CPU": "true"}):
        tiny.run(folder, "alone", tiny.base(folder), tiny.sft(folder))
    recipe = tiny.recipe_file(folder, tiny.sft(folder))
    profile = ["multi_gpu", "--num-processes", "2"] if gpus else ["cpu_2"]
    _launch("run", str(recipe), "--launch", *profile)
    (together,) = (folder / "run").glob("sft-????????")
    return _curves(folder / "alone", together, " on two GPUs" if gpus else " on the CPU")


def resume(folder: Path) -> list[Reading]:
    """A run in peace, and the same one cut short while it wrote its last checkpoint."""
    half = tiny.STEPS // 2
    lora = {**tiny.LORA, "lora_dropout": 0.1}  # its random numbers go on where they were
    block = tiny.sft(folder, {**tiny.EXACT, "save_steps": half}, lora=lora)
    calm = tiny.run(folder, "sft", tiny.base(folder), block)
    wanted = _weights(calm)
    shutil.rmtree(_adapter(calm))
    (folder / "sft" / CHECKPOINTS / f"checkpoint-{tiny.STEPS}" / WHOLE).unlink()
    again = tiny.run(folder, "sft", tiny.base(folder), block)
    if again.facts["resumed_at_step"] != half:
        raise FinetuneError(f"it went on from step {again.facts['resumed_at_step']}, not {half}")
    # A CPU repeats itself to the last bit; on a GPU the backward pass of attention adds up in the
    # order in which its blocks end. An optimizer lost on the way moves weights by 1e-2.
    return [_moved(wanted, _weights(again), 0.0 if on_cpu() else 1e-4)]


def packing(folder: Path) -> list[Reading]:
    """Eight rows side by side, and in one: a step of plain gradient descent."""
    train = {**tiny.EXACT, "optim": "sgd", "learning_rate": 0.5, "max_steps": 1}
    data = {"path": str(folder / "answers.jsonl"), "rows": 8}
    base = tiny.base(folder)
    rows = tiny.run(folder, "rows", base, tiny.sft(folder, train, data=data))
    block = tiny.sft(folder, {**train, "packing": True}, data=data, batch_size=1)
    packed = tiny.run(folder, "packed", base, block)
    if packed.facts["packs"] != 1:
        raise FinetuneError(f"eight short rows filled {packed.facts['packs']} packs, not one")
    gap = abs(rows.facts["loss_first"] - packed.facts["loss_first"])
    return [
        Reading("gap of losses", gap, STEP_GAP),
        _moved(_weights(rows), _weights(packed), STEP_GAP),
    ]


def dpo(folder: Path) -> list[Reading]:
    """Loss and margin while the policy is its own reference, in the formats of a real run."""
    readings = []
    for name, more in (("", {}), (", 4 bits", {"quantization": tiny.NF4})):
        base = tiny.base(folder, dtype="auto", **more)
        train = {**tiny.EXACT, "max_steps": 1}
        del train["bf16"]
        sft = tiny.sft(folder, train)
        data = {"path": str(folder / "pairs.jsonl")}
        dpo = {"dpo": {"data": data, "batch_size": 8, "train": train}}
        trained = tiny.run(folder, f"sft{name}", base, sft)
        facts = tiny.run(folder, f"dpo{name}", trained, sft, dpo).facts
        gap = abs(facts["step_0_loss"] - math.log(2))
        readings += [
            Reading(f"loss less ln 2{name}", gap, STEP_0_TOLERANCE),
            Reading(f"margin{name}", abs(facts["step_0_margin"]), STEP_0_TOLERANCE),
        ]
    return readings


def merge(folder: Path) -> list[Reading]:
    """The adapter on its base, and the merged model read back from disk."""
    readings = []
    for name, way, more in (
        ("", MERGED, {}),
        (", 4 bits", "dequantized", {"quantization": tiny.NF4}),
    ):
        sft = tiny.sft(folder)
        trained = tiny.run(folder, f"sft{name}", tiny.base(folder, **more), sft)
        facts = tiny.run(folder, f"merge{name}", trained, sft, {"merge": {}}).facts
        gap = facts[f"{way}_max_logit"]
        readings.append(Reading(f"largest gap of logits{name}", gap, EXACT))
    return readings


def _curves(first: Path, second: Path, where: str = "") -> list[Reading]:
    gaps = [
        abs(one - other)
        for name in ("loss", "grad_norm")
        for one, other in zip(tiny.curve(first, name), tiny.curve(second, name), strict=True)
    ]
    return [
        Reading(f"largest gap of losses and gradient norms{where}", max(gaps), LARGEST_GAP),
        Reading("mean gap", sum(gaps) / len(gaps), MEAN_GAP),
    ]


def _moved(
    first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], bound: float
) -> Reading:
    gaps = [float((first[name] - second[name]).abs().max()) for name in first]
    return Reading("largest gap of weights", max(gaps), bound)


def _adapter(result: Result) -> Path:
    assert result.model and result.model.adapter
    return result.model.adapter


def _weights(result: Result) -> dict[str, torch.Tensor]:
    return load_file(_adapter(result) / "adapter_model.safetensors")


def _launch(*command: str) -> None:
    """`finetune COMMAND` in processes of its own, which end when this one does."""
    running = subprocess.Popen(
        [sys.executable, "-c", FINETUNE, str(os.getpid()), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = running.communicate()
    except BaseException:
        running.terminate()
        running.communicate(timeout=LAUNCHER_SECONDS)
        raise
    if running.returncode:
        raise FinetuneError(f"two processes ended with {running.returncode}:\n{said.strip()}")
