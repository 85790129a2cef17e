"""Training as benchmarks/gpu.py measures it: the same meter on any trainer."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import against_trl
import torch
from transformers import Trainer
from trl import DPOTrainer
from trl.trainer.utils import get_peak_flops

from finetune.chain import forecast, provenance
from finetune.models.hardware import half, on_cpu
from finetune.stages.needs import need
from finetune.stages.planned import Model, Stand

WARM = 2  # optimizer steps that do not count: kernels are chosen, memory is first taken
# Tried in turn until one fits into memory: what is set by hand on large GPUs, and on smaller.
BY_HAND = [
    against_trl.BY_HAND,
    {**against_trl.BY_HAND, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 4},
    {**against_trl.BY_HAND, "gradient_checkpointing": True},
]


def measure(stage: str, quantization: Any, spec: dict[str, Any]) -> dict[str, Any]:
    """One stage of training, by this project or by TRL."""
    start = spec["adapter"] if stage == "dpo" else ""
    spec = {**spec, "stage": stage, "quantization": quantization, "start": start, "seed": 1}
    plan = {"planned_bytes": planned(spec)} if spec["way"] == "ours" else {}
    found = plan | (_by_hand(spec) if spec["way"] == "by_hand" else _trained(spec))
    # Of pairs that of rows apart, and of their reference, whichever way they go through the model.
    cost = spec["flops_trained"] + (spec["flops_forward"] if stage == "dpo" else 0.0)
    peak = None if on_cpu() else peak_flops()
    return found | {"mfu": 100 * found["tokens_per_second"] * cost / peak if peak else None}


def planned(spec: dict[str, Any]) -> int:
    """Bytes that `finetune plan` says the stage will need, beside the libraries' own."""
    stages = [against_trl.stage_of({**spec, "stage": name}) for name in ("sft", spec["stage"])]
    model = Model(against_trl.base_of(spec), (stages[0],))  # dpo goes on training sft's adapter
    found = need(stages[1], Stand(model=model, machine=forecast.device()))
    return sum(found.parts.values())


def _by_hand(spec: dict[str, Any]) -> dict[str, Any]:
    for number, options in enumerate(BY_HAND):
        try:
            with patch.object(against_trl, "BY_HAND", options):
                out = str(Path(spec["out"]) / str(number))
                return _trained({**spec, "out": out}) | {"options": options}
        except torch.OutOfMemoryError:
            pass  # and with it goes what its frames hold
        gc.collect()
        torch.cuda.empty_cache()
    raise MemoryError("none of the settings fits into memory")


def _trained(spec: dict[str, Any]) -> dict[str, Any]:
    spec = {**spec, "out": str(Path(spec["out"]) / "stage")}
    Path(spec["out"]).parent.mkdir(exist_ok=True)
    with measured() as found, Meter(spec["seconds"]) as meter:
        work = against_trl.ours if spec["way"] == "ours" else against_trl.plain
        _, steps, _ = work(spec)
    return {**found, **meter.found(), "steps": steps}


class Meter:
    """Tokens and seconds of any trainer's steps, which end after so many seconds.

    The reference's share of DPO counts wherever it is computed: within a step, or for all rows
    before, of which a run that ends early has used a part.
    """

    def __init__(self, most: float) -> None:
        self.most, self.begun = most, 0.0
        self.tokens = 0
        self.first = self.last = 0.0
        self.before = 0.0  # seconds for the reference's log-probabilities of all rows
        self.trainer: Any = None

    def __enter__(self) -> Meter:
        step, predict = Trainer.training_step, Trainer.predict
        ask = DPOTrainer._precompute_ref_logps

        def training_step(trainer: Any, model: Any, inputs: Any, *rest: Any) -> Any:
            self._begins(trainer)
            loss = step(trainer, model, inputs, *rest)
            self._ends(inputs)
            return loss

        self.patches = [
            patch.object(Trainer, "training_step", training_step),
            patch.object(Trainer, "predict", self._timed(predict)),
            patch.object(DPOTrainer, "_precompute_ref_logps", self._timed(ask)),
        ]
        for each in self.patches:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.patches:
            each.stop()

    def found(self) -> dict[str, Any]:
        """Tokens a second after the warm-up, padding not counted, and the mean loss."""
        state = self.trainer.state
        counted = state.global_step - WARM
        share = counted / state.max_steps
        seconds = self.last - self.first + share * self.before
        losses = [each["train_loss"] for each in state.log_history if "train_loss" in each]
        return {
            "tokens_per_second": self.tokens / seconds,
            "steps_counted": counted,
            "loss": losses[-1] if losses else None,
            "rows_at_once": self.trainer.args.per_device_train_batch_size,
            "gradient_checkpointing": self.trainer.args.gradient_checkpointing,
        }

    def _begins(self, trainer: Any) -> None:
        self.trainer = trainer
        self.begun = self.begun or now()
        if trainer.state.global_step < WARM:
            self.tokens, self.first = 0, now()

    def _ends(self, inputs: Any) -> None:
        self.last = now()
        if self.trainer.state.global_step >= WARM:
            self.tokens += int(inputs["attention_mask"].sum())
        if self.last - self.begun > self.most:
            self.trainer.control.should_training_stop = True

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            begun = now()
            try:
                return function(*given, **more)
            finally:
                self.before += now() - begun

        return call


def now() -> float:
    """Seconds, when the device has done all that it was given."""
    if not on_cpu():
        torch.cuda.synchronize()
    return time.perf_counter()


@contextmanager
def measured() -> Iterator[dict[str, Any]]:
    """Seconds and peaks of what is done within: on the device, and of resident memory gained."""
    found: dict[str, Any] = {}
    held = int(Path("/proc/self/statm").read_text("utf-8").split()[1]) * resource.getpagesize()
    if not on_cpu():
        torch.cuda.reset_peak_memory_stats()
    begun = now()
    yield found
    found["seconds"] = round(now() - begun, 2)
    found["ram_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - held
    found["peak_bytes"] = None if on_cpu() else torch.cuda.max_memory_allocated()


def peak_flops() -> float | None:
    """Dense operations a second in the format of training, from TRL's table; None if not in it."""
    return get_peak_flops(provenance.device(), str(half()).removeprefix("torch."))
