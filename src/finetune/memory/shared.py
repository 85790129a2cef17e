"""Parts of a stage's memory on one of several processes that share them: ZeRO, FSDP."""

from __future__ import annotations

from collections.abc import Mapping

from finetune.launch.sharing import Sharing

GATHERED = 2  # layers whose weights are whole at a time: the one at work and the next


def shared(
    parts: Mapping[str, int], sharing: Sharing, processes: int, *, trained: int, layers: int
) -> dict[str, int]:
    """Bytes by part on one process.

    ZeRO-1 divides the optimizer, 2 the gradients too, 3 the weights as well (Rajbhandari et al.
    2020); FSDP divides all three. DeepSpeed's optimizer keeps the trained weights and both
    moments in float32. What is worked on is each process's own.
    """
    found, stage = dict(parts), sharing.zero_stage
    if stage and "optimizer" in found:
        found["optimizer"] = 0 if sharing.offloads_optimizer else 12 * trained
    divided = {
        "optimizer": stage >= 1 or sharing.fsdp,
        "gradients": stage >= 2 or sharing.fsdp,
        "weights": stage == 3 or sharing.fsdp,
        "adapter": stage == 3 or sharing.fsdp,
    }
    for part, is_divided in divided.items():
        if part in found and is_divided:
            found[part] = -(-found[part] // processes)
    if divided["weights"] and "weights" in parts:
        found["gathered"] = GATHERED * parts["weights"] // max(1, layers)
        if sharing.offloads_weights:
            found["weights"] = 0
    return found
