"""What happens beside training: progress that a person can read, checkpoints known to be whole."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

from accelerate import PartialState
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetune.console import say
from finetune.errors import FinetuneError
from finetune.job import is_whole, mark_whole
from finetune.ranks import is_main

SAY_EVERY = 20.0  # seconds between lines where there is no terminal to draw a bar on


def diverged(what: str, stage: str) -> FinetuneError:
    """Training that has lost its numbers, with the usual ways out."""
    return FinetuneError(
        what,
        where=stage,
        remedy="Lower train.learning_rate, or set train.max_grad_norm.",
    )


class StopAtNan(TrainerCallback):
    """Ends training at the first loss that is no number: no later step can mend it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Look at the loss that is logged."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            place = f"step {state.global_step} of {state.max_steps}"
            raise diverged(f"the loss is {loss} at {place}", self.name)


class MarkCheckpoints(TrainerCallback):
    """Marks a checkpoint after all ranks have written all of it."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Wait for the other ranks' files, then leave the mark."""
        PartialState().wait_for_everyone()
        if is_main():
            mark_whole(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")


def last_checkpoint(folder: Path) -> Path | None:
    """Newest whole checkpoint below `folder`; torn ones are passed over."""
    whole = [each for each in folder.glob("checkpoint-*") if is_whole(each)]
    return max(whole, key=lambda each: int(each.name.split("-")[1]), default=None)


class Progress(TrainerCallback):
    """One bar with loss, rows per second and time left; plain lines without a terminal."""

    def __init__(self, name: str, batch_size: float) -> None:
        self.name, self.batch_size = name, batch_size
        self.bar: Any = None
        self.loss = float("nan")
        self.begun = self.said = time.monotonic()
        self.first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the bar at the step a resumed run goes on from."""
        self.begun = self.said = time.monotonic()
        self.first_step = state.global_step
        if is_main() and sys.stderr.isatty():
            total = state.max_steps
            self.bar = tqdm(total=total, initial=state.global_step, desc=self.name, unit="step")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Remember the newest loss."""
        self.loss = (logs or {}).get("loss", self.loss)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Move the bar, or say a line now and then; have the last step's loss logged too."""
        control.should_log |= state.global_step == state.max_steps
        now = time.monotonic()
        done = state.global_step - self.first_step
        rows_per_second = done * self.batch_size / max(now - self.begun, 1e-9)
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {self.loss:.3f}, {rows_per_second:.0f} rows/s")
            self.bar.update(1)
        elif now - self.said >= SAY_EVERY:
            self.said = now
            left = (state.max_steps - state.global_step) * (now - self.begun) / done
            say(
                f"  {self.name}: step {state.global_step} of {state.max_steps}, "
                f"loss {self.loss:.3f}, {rows_per_second:.0f} rows/s, {left:.0f} s left"
            )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()
