"""TRL's language-model head on a CPU: only the tokens that are learnt are scored."""

from __future__ import annotations

from typing import Any


def score_learnt_tokens_only() -> None:
    """Have the head pass over prompts and padding, as it does on a GPU.

    TRL 1.16 scores every position wherever Triton does not run, for accelerators that would
    compile anew for each number of learnt tokens (`add_fused_lm_head`). A CPU compiles nothing,
    and of a row with a long prompt most of the head's work, forward and backward, is for tokens
    whose loss is thrown away. The same kernel over the same learnt tokens: the same losses.
    """
    from trl.trainer import utils

    utils._use_triton = _passes_over_the_rest


def _passes_over_the_rest(device: Any) -> bool:
    return device.type in ("cpu", "cuda", "xpu")
