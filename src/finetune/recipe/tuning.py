"""What a stage that tunes a model says of what it trains: an adapter, experts, at which rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from finetune.recipe.blocks import Settings, Stage, fills, named_by

# Starts of LoRA that take something out of the base's weights, which the adapter then begins with.
REWRITING = ("pissa", "olora", "corda", "lora_ga")
# What a stage does with the adapter of the stage before it; see `Tuned.lora`.
CONTINUE, NEW, MERGE = HANDOVER = ("continue", "new", "merge")


@dataclass(frozen=True, kw_only=True)
class LoraPlus:
    """LoRA+ (Hayou et al. 2024): the B matrices learn at a higher rate than the A matrices."""

    lr_ratio: float  # of B's learning rate to A's, which is `train.learning_rate`; the paper: 16
    lr_embedding: float = 1e-6  # of adapters on embeddings


@dataclass(frozen=True, kw_only=True)
class Esft:
    """Expert-specialised fine-tuning (Wang et al. 2024): only the experts that the data uses."""

    score: Literal["token", "gate"] = "token"  # share of tokens sent to an expert, or gate weight
    top_p: float = 0.2  # experts by falling score until their scores sum to this share, per layer
    sample_tokens: int = 131072  # of the stage's data, on which experts are scored


@dataclass(frozen=True, kw_only=True)
class Tuned(Stage):
    """A stage that trains an adapter: `lora`, or another of PEFT's methods by `peft`."""

    # a new adapter; or what becomes of the one before: continue, new (stacked), merge (then new)
    lora: Settings | str | None = field(
        default=None, metadata={**fills("LoraConfig"), "words": HANDOVER}
    )
    # `method` (ia3, vera, oft, …) and the fields of that method's config class
    peft: Settings | None = field(default=None, metadata=named_by("method", "peft."))
    loraplus: LoraPlus | None = None

    def handover(self, has_adapter: bool) -> str:
        """What becomes of the adapter before: continue, new or merge; empty without one."""
        if not has_adapter:
            return ""
        if isinstance(self.lora, str):
            return self.lora
        return CONTINUE if self.lora is None and self.peft is None else NEW

    def adds_adapter(self, has_adapter: bool) -> bool:
        """Whether a fresh adapter is trained, rather than the one before or the weights."""
        if has_adapter:
            return self.handover(True) != CONTINUE
        return self.lora is not None or self.peft is not None


def start_of(stage: Tuned) -> str:
    """How a stage's LoRA adapter starts, `_niter_…` left off; empty where it does not say."""
    start = stage.lora.get("init_lora_weights") if isinstance(stage.lora, dict) else None
    return start.partition("_niter_")[0] if isinstance(start, str) else ""


def rewrites(stage: Tuned) -> bool:
    """Whether a stage's adapter begins with something taken out of the base's weights."""
    return start_of(stage) in REWRITING
