"""The model that a stage trains: what becomes of the adapter before it, and how a new one starts.

An adapter goes on training, or a new one is stacked on it, or it is merged into the base first.
Whichever it is, one base is in memory, and the model before the first step is the reference that
preference stages compare with.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from peft import PeftConfig, PeftModel
from transformers import set_seed

from finetune.console import say
from finetune.data.encoded import RowReader
from finetune.errors import FinetuneError
from finetune.job import Job, ModelRef
from finetune.models.adapters import is_adapted
from finetune.models.configs import adapter_config, place
from finetune.models.distributed import loaded_in_shards
from finetune.models.experts import (
    CHOSEN,
    join,
    read_choice,
    save_experts,
    score,
    split,
    write_choice,
)
from finetune.models.identity import check_identity, write_identity
from finetune.models.load import (
    free_memory,
    open_base,
    open_model,
    parameter_count,
)
from finetune.models.merging import merge
from finetune.models.save import save_adapter, save_model, written_base
from finetune.models.stack import TOP, keep_at_work, lower, put_on
from finetune.models.starts import fresh_adapter, rewrites, start_of, take_out
from finetune.models.tokenizers import load_tokenizer, weights_folder
from finetune.models.tokens import learn_tokens, show_bias
from finetune.ranks import is_main
from finetune.recipe.tuning import CONTINUE, MERGE, NEW, Esft, Tuned
from finetune.recipe.types import Base, Sft

START = "start"  # an adapter as it began, kept while its base lacks what it began with
EXPERTS = "experts"
BASE = "base"  # a base made for this stage


@dataclass(frozen=True)
class Policy:
    """A model to train, and what it stands on: a base, and frozen adapters below the one on top."""

    model: Any
    base: Base
    below: tuple[Path, ...] = ()
    start: Path | None = None  # what must be subtracted when the adapter is saved
    experts: Path | None = None  # where the choice of the experts that train stands


def open_policy(stage: Tuned, job: Job, rows: RowReader) -> Policy:
    """The stage's model, ready to train; `rows` gives its data to starts that look at it.

    Raises:
        FinetuneError: PEFT refuses the adapter, or the base cannot be opened.
    """
    policy = _open(stage, job, rows)
    show_bias(policy.model)
    return policy


def _open(stage: Tuned, job: Job, rows: RowReader) -> Policy:
    ref, has_adapter = job.model, bool(job.model.adapters)
    choice = stage.handover(has_adapter)
    if not stage.adds_adapter(has_adapter):
        if choice == CONTINUE:
            say(f"  {job.name}: goes on training the adapter before it")
        with loaded_in_shards():
            model = open_model(ref, trainable=True)
        if not has_adapter and getattr(model, "hf_quantizer", None) is not None:
            raise FinetuneError(
                "this checkpoint is quantised, so its weights cannot be trained",
                where=job.name,
                remedy="Give the stage `lora: {}`, or take the unquantised model as base.",
            )
        if isinstance(stage, Sft) and stage.esft is not None:
            return _of_experts(model, stage.esft, job, rows)
        return Policy(model, ref.base, ref.adapters[:-1])
    config = adapter_config(stage, ref.adapter)
    if choice == MERGE:
        say(f"  {job.name}: merges the adapter before it into the base, and trains a new one")
        ref = ModelRef(base=_made(job, lambda folder: _merged(job.model, folder), ref.base))
    if choice == NEW:
        say(
            f"  {job.name}: stacks a new adapter on {len(ref.adapters)} below, which stay as they "
            "are and go on working"
        )
        return _stacked(ref, config, job.seed)
    if rewrites(config):
        return _rewritten(ref.base, config, job, rows)
    with loaded_in_shards():
        model = open_base(ref.base)
    learn_tokens(config, model, ref.base)
    folder = weights_folder(ref.base) if start_of(config) == "loftq" else None
    return Policy(fresh_adapter(model, config, rows, folder, job.seed), ref.base)


def save_policy(policy: Policy, trainer: Any, tokenizer: Any, job: Job) -> ModelRef:
    """Save what was trained, with what it stands on: an adapter, or all weights."""
    if not is_adapted(policy.model):
        if policy.experts is not None:
            if is_main():
                save_experts(trainer.model, policy.experts)
            join(trainer.model)
        return save_model(trainer, tokenizer, job)
    folder = job.out / "adapter"
    save_adapter(trainer.model, tokenizer, folder, policy.start)
    if is_main():
        write_identity(policy.base, folder)
    return ModelRef(base=policy.base, adapters=(*policy.below, folder))


def _of_experts(model: Any, settings: Esft, job: Job, rows: RowReader) -> Policy:
    """The model with nothing to train but the experts that the stage's data uses."""
    folder = job.out / EXPERTS
    if not folder.exists():  # an interrupted run goes on with the very experts that it had
        choice = write_choice(score(model, rows, settings), settings.top_p)
        if is_main():
            folder.mkdir()
            (folder / CHOSEN).write_text(choice, encoding="utf-8")
        PartialState().wait_for_everyone()
    chosen = read_choice(folder)
    split(model, chosen)
    counts = [len(each) for each in chosen.values()]
    share = parameter_count(model, trainable=True) / parameter_count(model)
    say(
        f"  {job.name}: trains {sum(counts)} experts, {min(counts)} to {max(counts)} in each of "
        f"{len(counts)} layers: {100 * share:.1f}% of the weights"
    )
    return Policy(model, job.model.base, experts=folder)


def _stacked(ref: ModelRef, config: PeftConfig, seed: int) -> Policy:
    """A fresh adapter above frozen ones."""
    names = {folder: lower(position) for position, folder in enumerate(ref.adapters)}
    with loaded_in_shards():
        model = open_base(ref.base)
        check_identity(ref)
        model = put_on(model, names)
    set_seed(seed)
    place(model, config)
    keep_at_work(model, list(names.values()))
    model.set_adapter(TOP)
    return Policy(model, ref.base, ref.adapters)


def _rewritten(base: Base, config: PeftConfig, job: Job, rows: RowReader) -> Policy:
    """A fresh adapter that begins with a part of the base's weights, which then lack it.

    What is saved in the end is what training changed, on the base as it was. On a quantised base
    that would be another model: there what is left of the weights is quantised, as in the papers,
    and saved as the base that the adapter stands on.
    """
    start = job.out / START
    if base.quantization:
        return _rewritten_then_quantized(base, config, job, rows)
    model = open_base(base)
    learn_tokens(config, model, base)
    if start.exists():  # an interrupted run goes on from the very start that it had
        model = PeftModel.from_pretrained(model, str(start), is_trainable=True)
        take_out(model)
    else:
        model = fresh_adapter(model, config, rows, None, job.seed)
        _save_start(model, start)
    say(
        f"  {job.name}: the adapter begins with a part of the base's weights ({start_of(config)}); "
        "it is saved as the change to them, of twice the rank, for the base as it is"
    )
    return Policy(model, base, start=start)


def _rewritten_then_quantized(base: Base, config: PeftConfig, job: Job, rows: RowReader) -> Policy:
    start = job.out / START

    def write(folder: Path) -> None:
        model = open_base(replace(base, quantization=None))
        learn_tokens(config, model, base)
        model = fresh_adapter(model, config, rows, None, job.seed)
        _save_start(model, start)
        tokenizer, _ = load_tokenizer(base)
        model.unload().save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    residual = _made(job, write, base)
    say(
        f"  {job.name}: the adapter begins with a part of the base's weights ({start_of(config)}); "
        "what is left of them is quantised and saved as the base that it stands on"
    )
    model = PeftModel.from_pretrained(open_base(residual), str(start), is_trainable=True)
    return Policy(model, residual)


def _save_start(model: PeftModel, folder: Path) -> None:
    if is_main():
        part = folder.with_suffix(".part")
        model.save_pretrained(str(part), selected_adapters=[TOP], save_embedding_layers=False)
        part.rename(folder)
    PartialState().wait_for_everyone()


def _merged(ref: ModelRef, folder: Path) -> None:
    """Base and adapters as one model: of a quantised base, onto the weights as they are rounded."""
    tokenizer, _ = load_tokenizer(ref.base)
    merge(ref, "dequantized", folder)
    tokenizer.save_pretrained(folder)


def _made(job: Job, write: Callable[[Path], None], base: Base) -> Base:
    """A base written for this stage by rank 0, once; in the number format of the one before."""
    folder = job.out / BASE
    if is_main() and not folder.exists():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        write(part)
        free_memory()
        part.rename(folder)
    PartialState().wait_for_everyone()
    return replace(written_base(base, folder), quantization=base.quantization)
