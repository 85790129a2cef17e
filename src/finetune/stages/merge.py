"""The adapter folded into the base's weights, and what that changed, measured.

On a quantised base there are two ways: `dequantized` adds the adapter to the very weights it was
trained on, `full_precision` to those they were rounded from. Both are measured against the
adapter as it was trained; the recipe says which one is kept.
"""

from __future__ import annotations

import gc
import shutil
from dataclasses import replace
from typing import Any

import torch

from finetune.console import say, warn
from finetune.errors import FinetuneError
from finetune.job import Job, ModelRef, Result
from finetune.models.adapters import is_quantized
from finetune.models.combining import combine
from finetune.models.fidelity import Difference, difference, probe_logits
from finetune.models.load import free_memory, open_model
from finetune.models.merging import merge
from finetune.models.save import save_tokenizer, trained_base
from finetune.models.tokenizers import load_tokenizer
from finetune.ranks import is_main
from finetune.recipe.types import Merge

# Of one model in two forms, in float32: what the order of additions alone can change.
EXACT = 1e-3
OTHER = ".other"  # the way not kept, on disk while it is measured


def check(stage: Merge, job: Job) -> None:
    """Nothing to build before the adapter exists."""


def run(stage: Merge, job: Job) -> Result:
    """Merge, save, reopen what was saved, and measure it; rank 0 does the work."""
    merged = ModelRef(base=trained_base(job, job.out / "model"))
    if not is_main():
        return Result(model=merged)
    tokenizer, _ = load_tokenizer(job.model.base)
    ref = _adapter(stage, job, tokenizer)
    wanted, quantized = _as_trained(ref, tokenizer)
    found: dict[str, Difference] = {}
    for onto in ("full_precision", "dequantized") if quantized else (stage.onto,):
        folder = job.out / ("model" if onto == stage.onto else OTHER)
        how = merge(ref, onto, folder)
        save_tokenizer(tokenizer, folder)
        model = open_model(replace(merged, base=replace(merged.base, model=str(folder))))
        found[onto] = difference(wanted, probe_logits(model, tokenizer))
        del model
        _free()
        shutil.rmtree(job.out / OTHER, ignore_errors=True)
    facts: dict[str, Any] = {"onto": stage.onto, "merged": how, **_combined(stage)}
    for onto, gap in found.items():
        facts |= gap.facts(onto)
    return Result(model=merged, facts=facts, warnings=_report(stage, job, found))


def _adapter(stage: Merge, job: Job, tokenizer: Any) -> ModelRef:
    """The adapter to merge; of several, their combination, saved beside the merged model."""
    if stage.combine is None:
        return job.model
    refs = {name: job.models[name] for name in stage.combine.adapters}
    folder = job.out / "adapter"
    combine(stage.combine, refs, folder, job.seed)
    tokenizer.save_pretrained(folder)
    first = next(iter(refs.values()))
    return replace(first, adapters=(*first.adapters[:-1], folder))


def _combined(stage: Merge) -> dict[str, Any]:
    if stage.combine is None:
        return {}
    return {
        "adapters": " + ".join(stage.combine.adapters),
        "combination_type": stage.combine.combination_type,
    }


def _as_trained(ref: ModelRef, tokenizer: Any) -> tuple[list[torch.Tensor], bool]:
    model = open_model(ref)
    wanted, quantized = probe_logits(model, tokenizer), is_quantized(model)
    del model
    _free()
    return wanted, quantized


def _free() -> None:
    gc.collect()
    free_memory()


def _report(stage: Merge, job: Job, found: dict[str, Difference]) -> tuple[str, ...]:
    """Say what was measured; returns what the user should see again at the end.

    Raises:
        FinetuneError: the merged model is further from the adapter than the recipe allows.
    """
    for onto, gap in found.items():
        kept = " (kept)" if onto == stage.onto and len(found) > 1 else ""
        say(
            f"  {job.name}: adapter against merged, {onto}{kept}: logits differ by "
            f"{gap.max_logit:.2e} at most, {gap.mean_logit:.2e} on average; KL {gap.mean_kl:.2e}"
        )
    gap = found[stage.onto]
    if stage.tolerance is not None and not gap.mean_kl <= stage.tolerance:  # nan is refused too
        raise FinetuneError(
            f"the merged model is another than the adapter on its base: a mean KL of "
            f"{gap.mean_kl:.2e} nats, more than the tolerance {stage.tolerance:g}",
            where=job.name,
            remedy=_remedy(stage, found),
        )
    if len(found) == 1 and gap.max_logit > EXACT and _is_exact(job):
        note = f"merged logits differ by {gap.max_logit:.2e} where rounding explains less"
        warn(f"{job.name}: {note}")
        return (note,)
    return ()


def _is_exact(job: Job) -> bool:
    from finetune.models.hardware import dtype

    return dtype(job.model.base.dtype) == torch.float32


def _remedy(stage: Merge, found: dict[str, Difference]) -> str:
    other = next((onto for onto in found if onto != stage.onto), None)
    if other and found[other].mean_kl <= (stage.tolerance or 0):
        return f"Take `onto: {other}`, which is {found[other].mean_kl:.2e} nats away."
    return "Ship the adapter itself, or raise `tolerance` if the task's scores agree."
