"""Parts of a stage's memory on one of several processes that share them: DDP, ZeRO, FSDP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from finetune import ranks
from finetune.launch.sharing import Sharing, from_environment

# ZeRO-3 keeps gathered what is needed again within `stage3_max_reuse_distance` weights, by default
# 1e9: on the way forward the last half of that, which the way back starts with.
LIVE = 500_000_000
GATHERED = 2  # layers that FSDP has whole at a time: the one at work and the next


@dataclass(frozen=True, kw_only=True)
class Whole:
    """What there is to share: bytes of the base, weights that train, how the model divides."""

    weights: int
    trained: int
    trained_bytes: int
    width: int  # bytes of a weight of the base
    layers: int
    ends: int = 0  # bytes of embeddings and head, which belong to no layer


@dataclass(frozen=True, kw_only=True)
class Share:
    """One of so many processes, and how they share. `on_cpu`: nothing lies beside the device."""

    sharing: Sharing = field(default_factory=Sharing)
    processes: int = 1
    on_cpu: bool = False

    @property
    def is_alone(self) -> bool:
        """Whether nothing is shared."""
        return self.processes == 1 and not self.sharing.zero_stage

    def of(
        self, parts: Mapping[str, int], model: Whole, *, updating: bool = False
    ) -> dict[str, int]:
        """Bytes by part on one process, of what is alive at a moment.

        ZeRO-1 divides the optimizer, 2 the gradients too, 3 the weights as well (Rajbhandari et
        al. 2020); FSDP divides all three. DeepSpeed's optimizer keeps the trained weights, both
        moments and, while it is `updating`, the gradients of its share in float32, as its own
        `estimate_zero…` says. DDP adds gradients up in buckets beside them. What is worked on is
        each process's own.
        """
        if self.is_alone:
            return dict(parts)
        found, stage, fsdp = dict(parts), self.sharing.zero_stage, bool(self.sharing.fsdp)
        if stage:
            found["optimizer"] = 12 * model.trained
        elif not fsdp:
            found["gradients"] = found.get("gradients", 0) + model.trained_bytes
        divided = {
            "optimizer": stage >= 1 or fsdp,
            "gradients": stage >= 2 or fsdp,
            "weights": stage == 3 or fsdp,
            "adapter": stage == 3 or fsdp,
        }
        for part, is_divided in divided.items():
            if part in found and is_divided:
                found[part] = -(-found[part] // self.processes)
        if stage and updating:
            own = -(-4 * model.trained // self.processes)
            found["gradients"] = found.get("gradients", 0) + own
        elif divided["weights"]:
            found["gathered"] = self._gathered(model)
        for part in self._offloaded():
            found.pop(part, None)
        return found

    def loading(self, model: Whole) -> dict[str, int]:
        """What is there before a step: under FSDP each process reads the weights whole."""
        return {"weights": model.weights} if self.sharing.fsdp else {}

    def beside(self, model: Whole) -> int:
        """Bytes of one process's share in the machine's memory rather than on the device."""
        optimizer = {"optimizer": 12 * model.trained, "gradients": 4 * model.trained}
        sizes = {**optimizer, "weights": model.weights}
        return sum(sizes[part] for part in self._offloaded()) // self.processes

    def _gathered(self, model: Whole) -> int:
        if self.sharing.fsdp:
            return GATHERED * (model.weights - model.ends) // model.layers + model.ends
        return min(model.weights, LIVE * model.width)

    def _offloaded(self) -> tuple[str, ...]:
        if self.on_cpu:
            return ()
        optimizer = ("optimizer", "gradients") if self.sharing.offloads_optimizer else ()
        return (*optimizer, *(("weights",) if self.sharing.offloads_weights else ()))


def this_process(on_cpu: bool) -> Share:
    """Of those that were launched together."""
    return Share(sharing=from_environment(), processes=ranks.world_size(), on_cpu=on_cpu)
