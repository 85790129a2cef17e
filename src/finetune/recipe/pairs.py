"""Settings that mean nothing, or not what they say, beside other settings of the same block.

Each row is (field, whether its value asks for something, whether it is then in order, message).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from finetune.recipe.blocks import Settings
from finetune.recipe.tuning import REWRITING

Test = Callable[[Settings, Any], bool]
Row = tuple[str, Test, str]


def _losses(train: Settings) -> set[str]:
    kinds = train.get("loss_type", "sigmoid")
    return {kinds} if isinstance(kinds, str) else set(kinds)


def _has_optimizer(train: Settings, *families: str) -> bool:
    return str(train.get("optim", "")).startswith(families)


# TRL 1.16's losses that read `label_smoothing`; the others leave it unread.
SMOOTHED = {"robust", "exo_pair", "aot", "aot_unpaired"}
# Those that can use another divergence than the reverse KL.
DIVERGENCES = {"sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop", "sft"}

TRAIN: tuple[Row, ...] = (
    ("num_train_epochs", lambda s, _: "max_steps" not in s,
     "`max_steps` says how long already; keep one of the two"),
    ("gradient_checkpointing_kwargs", lambda s, _: s.get("gradient_checkpointing") is True,
     "is read only with `gradient_checkpointing: true`"),
    ("liger_kernel_config", lambda s, _: s.get("use_liger_kernel") is True,
     "is read only with `use_liger_kernel: true`"),
    ("liger_kernel_config",
     lambda _, v: not any((v or {}).get(f"{name}cross_entropy") for name in ("", "fused_linear_")),
     "TRL's trainers have a head of their own, which Liger's would take the place of"),
    ("fp16", lambda s, v: not (v and s.get("bf16")), "`bf16` is on already; keep one of the two"),
    ("optim_target_modules", lambda s, _: _has_optimizer(s, "galore", "apollo"),
     "is read only by the galore and apollo optimizers; set `optim`"),
    ("lr_scheduler_type", lambda s, v: v not in {"reduce_lr_on_plateau", "greedy"},
     "lowers the rate by scores from within training, which this chain does not compute; "
     "choose another"),
    ("torch_compile_backend", lambda s, _: s.get("torch_compile") is True,
     "is read only with `torch_compile: true`"),
    ("torch_compile_mode", lambda s, _: s.get("torch_compile") is True,
     "is read only with `torch_compile: true`"),
)  # fmt: skip

SFT: tuple[Row, ...] = (
    *TRAIN,
    ("label_smoothing_factor", lambda s, v: v == 0 or s.get("loss_type", "nll") == "nll",
     "is read only with `loss_type: nll`"),
)  # fmt: skip

PACKED: tuple[Row, ...] = (
    ("packing", lambda s, v: not v or s.get("max_length", 1024) is not None,
     "needs a `max_length` to fill"),
)  # fmt: skip

DPO: tuple[Row, ...] = (
    *TRAIN,
    ("label_smoothing", lambda s, v: v == 0 or bool(_losses(s) & SMOOTHED),
     "is read by none of these losses; add `loss_type: robust` (or exo_pair, aot, aot_unpaired)"),
    ("loss_type", lambda s, _: "exo_pair" not in _losses(s) or s.get("label_smoothing", 0) > 0,
     "exo_pair needs `label_smoothing` above 0; its paper takes 1e-3"),
    ("loss_type", lambda s, _: len(_losses(s)) > 0, "must name one loss or more"),
    ("loss_weights", lambda s, v: v is None or len(v) == len(_losses(s)),
     "must have one weight for each loss of `loss_type`"),
    ("f_divergence_type", lambda s, v: v == "reverse_kl" or _losses(s) <= DIVERGENCES,
     "is not worked out for these losses; leave it out, or choose among "
     + ", ".join(sorted(DIVERGENCES))),
    ("f_alpha_divergence_coef",
     lambda s, _: s.get("f_divergence_type") == "alpha_divergence",
     "is read only with `f_divergence_type: alpha_divergence`"),
    ("discopop_tau", lambda s, _: "discopop" in _losses(s),
     "is read only by `loss_type: discopop`"),
    ("use_weighting", lambda s, v: not v or not _losses(s) & {"aot", "aot_unpaired"},
     "does not go with aot and aot_unpaired, which sort the answers"),
    ("ref_model_mixup_alpha", lambda s, _: s.get("sync_ref_model") is True,
     "is read only with `sync_ref_model: true`"),
    ("ref_model_sync_steps", lambda s, _: s.get("sync_ref_model") is True,
     "is read only with `sync_ref_model: true`"),
    ("sync_ref_model", lambda s, v: not (v and s.get("precompute_ref_log_probs")),
     "a reference that changes cannot be computed beforehand (`precompute_ref_log_probs`)"),
)  # fmt: skip


def _starts(lora: Settings, *starts: str) -> bool:
    return str(lora.get("init_lora_weights")).partition("_niter_")[0] in starts


LORA: tuple[Row, ...] = (
    *((f"{start}_config", lambda s, _, start=start: _starts(s, start),
       f"is read only with `init_lora_weights: {start}`") for start in ("eva", "corda", "lora_ga")),
    ("use_rslora", lambda s, v: not v or not (s.get("rank_pattern") or s.get("alpha_pattern"))
     or not _starts(s, *REWRITING),
     "with `rank_pattern` or `alpha_pattern` PEFT cannot save what such a start has learnt"),
    ("layers_pattern", lambda s, _: s.get("layers_to_transform") is not None,
     "is read only with `layers_to_transform`"),
    ("layers_to_transform", lambda s, _: not isinstance(s.get("target_modules", "all-linear"), str)
     or s.get("target_modules", "all-linear") == "all-linear",
     "does not go with a regular expression in `target_modules`: write the layers into it"),
    ("ensure_weight_tying", lambda s, v: not v or bool(
        s.get("modules_to_save") or s.get("trainable_token_indices")
        or s.get("target_modules", "all-linear") != "all-linear"),
     "concerns embeddings: name them in `modules_to_save` or `target_modules`"),
)  # fmt: skip

_4BIT = "is read only with `load_in_4bit: true`"
_8BIT = "is read only with `load_in_8bit: true`"
QUANTIZATION: tuple[Row, ...] = (
    ("load_in_8bit", lambda s, v: not (v and s.get("load_in_4bit")),
     "`load_in_4bit` is on already; keep one of the two"),
    *((f"bnb_4bit_{name}", lambda s, _: bool(s.get("load_in_4bit")), _4BIT)
      for name in ("quant_type", "use_double_quant", "compute_dtype", "quant_storage")),
    # `llm_int8_skip_modules` is read in 4 bits too, its name notwithstanding.
    *((f"llm_int8_{name}", lambda s, _: bool(s.get("load_in_8bit")), _8BIT)
      for name in ("threshold", "has_fp16_weight")),
    ("llm_int8_skip_modules",
     lambda s, _: bool(s.get("load_in_4bit") or s.get("load_in_8bit")),
     "is read only with `load_in_4bit: true` or `load_in_8bit: true`"),
)  # fmt: skip

_SAMPLED = ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff",
            "eta_cutoff")  # fmt: skip
GENERATION: tuple[Row, ...] = (
    *((name, lambda s, _: s.get("do_sample") is True, "is read only with `do_sample: true`")
      for name in _SAMPLED),
    *((name, lambda s, _: (s.get("num_beams") or 1) > 1, "is read only with `num_beams` above 1")
      for name in ("early_stopping", "length_penalty")),
    ("min_new_tokens", lambda s, v: v is None or v <= (s.get("max_new_tokens") or v),
     "is more than `max_new_tokens`"),
)  # fmt: skip

BLOCKS: dict[tuple[str, str], tuple[Row, ...]] = {
    ("pretrain", "train"): SFT,
    ("sft", "train"): (*SFT, *PACKED),
    ("dpo", "train"): DPO,
    ("sft", "lora"): LORA,
    ("dpo", "lora"): LORA,
    ("evaluate", "generation"): GENERATION,
    ("base", "quantization"): QUANTIZATION,
}


def contradictions(kind: str, block: str, settings: Settings) -> Iterator[tuple[str, str]]:
    """Fields of a block that do not go with its other fields, and why."""
    for field, in_order, message in BLOCKS.get((kind, block), ()):
        if field in settings and not in_order(settings, settings[field]):
            yield field, message
