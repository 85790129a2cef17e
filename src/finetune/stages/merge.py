"""The adapter folded into the base's weights, and what that changed, measured.

On a quantised base there are two ways: `dequantized` adds the adapter to the very weights it was
trained on, `full_precision` to those they were rounded from. Both are measured against the
adapter as it was trained; the recipe says which one is kept.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import torch

from finetune.console import say, warn
from finetune.errors import FinetuneError
from finetune.job import Job, ModelRef, Result
from finetune.models.adapters import is_quantized
from finetune.models.fidelity import Difference, difference, probe_logits
from finetune.models.load import free_memory, open_base, open_model
from finetune.models.save import trained_base
from finetune.models.stack import put_adapters
from finetune.models.tokenizers import load_tokenizer
from finetune.ranks import is_main
from finetune.recipe.types import Merge

# Of one model in two forms, in float32: what the order of additions alone can change.
EXACT = 1e-3


def check(stage: Merge, job: Job) -> None:
    """Nothing to build before the adapter exists."""


def run(stage: Merge, job: Job) -> Result:
    """Merge, save, reopen what was saved, and measure it; rank 0 does the work."""
    merged = ModelRef(base=trained_base(job, job.out / "model"))
    if not is_main():
        return Result(model=merged)
    tokenizer, _ = load_tokenizer(job.model.base)
    adapter = open_model(job.model)
    quantized = is_quantized(adapter)
    wanted = probe_logits(adapter, tokenizer)
    del adapter
    found: dict[str, Difference] = {}
    for onto in ("full_precision", "dequantized") if quantized else (stage.onto,):
        model = _merged(job.model, onto)
        if onto == stage.onto:
            model.save_pretrained(job.out / "model")
            tokenizer.save_pretrained(job.out / "model")
            model = open_model(merged)
        found[onto] = difference(wanted, probe_logits(model, tokenizer))
        del model
        gc.collect()
        free_memory()
    facts = {name: value for onto, gap in found.items() for name, value in gap.facts(onto).items()}
    _report(stage, job, found)
    return Result(model=merged, facts={"onto": stage.onto, **facts})


def _merged(ref: ModelRef, onto: str) -> Any:
    """The adapter's weights added to the base's, without the adapter's modules."""
    if onto == "full_precision":
        base = open_base(replace(ref.base, quantization=None))
    else:
        base = open_base(ref.base)
        if is_quantized(base):
            base = base.dequantize(
                dtype=torch.float32 if base.dtype == torch.float32 else base.dtype
            )
    return put_adapters(base, ref.adapters).merge_and_unload(safe_merge=True)


def _report(stage: Merge, job: Job, found: dict[str, Difference]) -> None:
    for onto, gap in found.items():
        kept = " (kept)" if onto == stage.onto and len(found) > 1 else ""
        say(
            f"  {job.name}: adapter against merged, {onto}{kept}: logits differ by "
            f"{gap.max_logit:.2e} at most, {gap.mean_logit:.2e} on average; KL {gap.mean_kl:.2e}"
        )
    gap = found[stage.onto]
    if stage.tolerance is not None and gap.max_logit > stage.tolerance:
        raise FinetuneError(
            f"merged logits differ from the adapter's by {gap.max_logit:.2e}, "
            f"more than the tolerance {stage.tolerance:.2e}",
            where=job.name,
            remedy="Try the other `onto`, or raise the tolerance if the task's scores agree.",
        )
    if len(found) == 1 and gap.max_logit > EXACT:
        warn(
            f"{job.name}: merged logits differ by {gap.max_logit:.2e} where rounding explains less"
        )
