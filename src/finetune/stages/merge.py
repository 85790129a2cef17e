"""The adapter folded into the base's weights, and what that changed, measured.

On a quantised base there are two ways: `dequantized` adds the adapter to the very weights it was
trained on, `full_precision` to those they were rounded from. Both are measured against the
adapter as it was trained, on logits and on the tasks that the recipe names; the recipe says which
one is kept.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from finetune.console import say, warn
from finetune.errors import FinetuneError
from finetune.job import Job, ModelRef, Result
from finetune.models.combining import combine
from finetune.models.fidelity import Difference, difference, probe_logits
from finetune.models.fitting import check_model
from finetune.models.load import free_memory, open_model
from finetune.models.merging import check_base_merges, merge
from finetune.models.save import save_tokenizer, written_base
from finetune.models.tokenizers import load_tokenizer
from finetune.ranks import is_main
from finetune.recipe.types import ADAPTER, MERGED, Evaluate, Merge, ways
from finetune.stages.scores import check_scores, score_models

# Of one model in two forms, in float32: what the order of additions alone can change.
EXACT = 1e-3
OTHER = ".other"  # the way not kept, on disk while it is measured


def check(stage: Merge, job: Job) -> None:
    """Look at the models to merge, and read the rows of the tasks."""
    for ref in _parts(stage, job).values():
        check_model(ref)
    check_base_merges(job.model.base, stage.onto)
    if stage.tasks:
        check_scores(_evaluation(stage), job)


def run(stage: Merge, job: Job) -> Result:
    """Merge, save, reopen what was saved, and measure it; rank 0 merges, every rank scores."""
    base = job.model.base
    merged = ModelRef(base=written_base(base, job.out / "model"))
    other = ModelRef(base=written_base(base, job.out / OTHER))
    found = ways(bool(base.quantization))
    models = {way: merged if way in (stage.onto, MERGED) else other for way in found}
    ref = _to_merge(stage, job)
    done = _merge(stage, job, ref, models) if is_main() else Result()
    scored = Result()
    if stage.tasks:
        PartialState().wait_for_everyone()
        scored = score_models(_evaluation(stage), replace(job, models={ADAPTER: ref, **models}))
    if is_main():
        shutil.rmtree(job.out / OTHER, ignore_errors=True)
    return Result(
        model=merged,
        facts={**done.facts, **scored.facts},
        scores=scored.scores,
        warnings=(*done.warnings, *scored.warnings),
    )


def _merge(stage: Merge, job: Job, ref: ModelRef, models: dict[str, ModelRef]) -> Result:
    """Write each of `models` and compare its logits with those of the adapter."""
    tokenizer, _ = load_tokenizer(job.model.base)
    if stage.combine is not None:
        combine(stage.combine, _parts(stage, job), job.out / "adapter", job.seed)
        tokenizer.save_pretrained(job.out / "adapter")
    wanted = _logits(ref, tokenizer)
    facts: dict[str, Any] = _combined(stage)
    if MERGED not in models:
        facts["onto"] = stage.onto
    gaps: dict[str, Difference] = {}
    for way, model in models.items():
        folder = Path(str(model.base.model))
        shutil.rmtree(folder, ignore_errors=True)
        facts["merged"] = merge(ref, stage.onto if way == MERGED else way, folder)
        free_memory()
        save_tokenizer(tokenizer, folder)
        gaps[way] = difference(wanted, _logits(model, tokenizer))
        facts |= gaps[way].facts(way)
    return Result(facts=facts, warnings=_report(stage, job, gaps))


def _evaluation(stage: Merge) -> Evaluate:
    return Evaluate(name=stage.name, tasks=stage.tasks)


def _parts(stage: Merge, job: Job) -> dict[str, ModelRef]:
    """The models whose adapters are merged, by stage."""
    if stage.combine is None:
        return {job.name: job.model}
    return {name: job.models[name] for name in stage.combine.adapters}


def _to_merge(stage: Merge, job: Job) -> ModelRef:
    """The adapter to merge; of several, their combination, saved beside the merged model."""
    if stage.combine is None:
        return job.model
    first = next(iter(_parts(stage, job).values()))
    return replace(first, adapters=(*first.adapters[:-1], job.out / "adapter"))


def _combined(stage: Merge) -> dict[str, Any]:
    if stage.combine is None:
        return {}
    return {
        "adapters": " + ".join(stage.combine.adapters),
        "combination_type": stage.combine.combination_type,
    }


def _logits(ref: ModelRef, tokenizer: Any) -> list[torch.Tensor]:
    """Those of the probes, by a model that is let go of."""
    model = open_model(ref)
    found = probe_logits(model, tokenizer)
    del model
    free_memory()
    return found


def _report(stage: Merge, job: Job, found: dict[str, Difference]) -> tuple[str, ...]:
    """Say what was measured; returns what the user should see again at the end.

    Raises:
        FinetuneError: the merged model is further from the adapter than the recipe allows.
    """
    for way, gap in found.items():
        kept = " (kept)" if way == stage.onto else ""
        told = "" if way == MERGED else f", {way}{kept}"
        say(
            f"  {job.name}: adapter against merged{told}: logits differ by "
            f"{gap.max_logit:.2e} at most, {gap.mean_logit:.2e} on average; KL {gap.mean_kl:.2e}"
        )
    gap = found.get(MERGED) or found[stage.onto]
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
