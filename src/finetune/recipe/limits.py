"""How large numbers may be, by field name: the same name means the same thing everywhere."""

from __future__ import annotations

from typing import Any

# Field -> (lowest, whether that itself is allowed, highest or None, whether that is allowed).
Limit = tuple[float, bool, float | None, bool]
ABOVE_0: Limit = (0, False, None, False)
FROM_0: Limit = (0, True, None, False)
FROM_1: Limit = (1, True, None, False)
SHARE: Limit = (0, True, 1, True)
BELOW_1: Limit = (0, True, 1, False)

LIMITS: dict[str, Limit] = {
    "adam_beta1": BELOW_1,
    "adam_beta2": BELOW_1,
    "adam_epsilon": ABOVE_0,
    "batch_size": FROM_1,
    "batch_tokens": FROM_1,
    "beta": ABOVE_0,
    "cap": FROM_1,
    "density": (0, False, 1, True),
    "discopop_tau": ABOVE_0,
    "few_shot": SHARE,
    "label_smoothing": (0, True, 0.5, False),
    "label_smoothing_factor": BELOW_1,
    "ld_alpha": SHARE,
    "learning_rate": ABOVE_0,
    "length_penalty": (-10, True, 10, True),
    "llm_int8_threshold": FROM_0,
    "logging_steps": ABOVE_0,
    "lora_alpha": ABOVE_0,
    "lr_embedding": ABOVE_0,
    "lr_ratio": FROM_1,
    "lora_dropout": BELOW_1,
    "max_grad_norm": FROM_0,
    "max_length": FROM_1,
    "max_new_tokens": FROM_1,
    "max_steps": FROM_1,
    "max_tokens": FROM_1,
    "min_new_tokens": FROM_0,
    "min_p": SHARE,
    "neftune_noise_alpha": FROM_0,
    "no_repeat_ngram_size": FROM_0,
    "num_beams": FROM_1,
    "concurrency": FROM_1,
    "copies": FROM_0,
    "num_fewshot": FROM_0,
    "num_train_epochs": ABOVE_0,
    "options": SHARE,
    "pad_to_multiple_of": FROM_1,
    "r": FROM_1,
    "prompts": FROM_1,
    "ref_model_mixup_alpha": SHARE,
    "ref_model_sync_steps": FROM_1,
    "refuse": SHARE,
    "repetition_penalty": ABOVE_0,
    "rows": FROM_1,
    "save_steps": ABOVE_0,
    "sample_tokens": FROM_1,
    "scale": (2, True, None, False),
    "seed": (0, True, 2**32 - 1, True),
    "stride": FROM_1,
    "svd_rank": FROM_1,
    "temperature": ABOVE_0,
    "timeout": ABOVE_0,
    "tolerance": FROM_0,
    "top_h": SHARE,
    "top_k": FROM_0,
    "top_p": (0, False, 1, True),
    "torch_empty_cache_steps": FROM_1,
    "typical_p": (0, False, 1, True),
    "vocab_size": (320, True, None, False),  # 256 bytes and the special tokens
    "warn": SHARE,
    "warmup_steps": FROM_0,
    "weight": ABOVE_0,
    "weight_decay": FROM_0,
}


def beyond(field: str, value: Any) -> str | None:
    """Why a number is out of its field's range; None when it is within."""
    limit = LIMITS.get(field)
    if limit is None or not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    lowest, with_lowest, highest, with_highest = limit
    low = value > lowest or (with_lowest and value == lowest)
    high = highest is None or value < highest or (with_highest and value == highest)
    if low and high:
        return None
    words = [f"{lowest:g} or more" if with_lowest else f"above {lowest:g}"]
    if highest is not None:
        words.append(f"{highest:.10g} or less" if with_highest else f"below {highest:.10g}")
    return f"must be {' and '.join(words)}, got {value}"
