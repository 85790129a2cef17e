"""What a model leaves the chain by: adapters combined, and the forms that others take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from finetune.recipe.blocks import Stage


@dataclass(frozen=True, kw_only=True)
class Combine:
    """Several adapters of one base made into one: arguments of PEFT's `add_weighted_adapter`."""

    adapters: tuple[str, ...]  # stages whose adapters they are
    weights: tuple[float, ...] = ()  # one for each; empty: equal adapters give themselves
    # cat: the exact weighted sum; linear: of the factors; ties and dare: trimmed by `density` first
    combination_type: Literal[
        "cat",
        "linear",
        "svd",
        "ties",
        "ties_svd",
        "dare_linear",
        "dare_linear_svd",
        "dare_ties",
        "dare_ties_svd",
        "magnitude_prune",
        "magnitude_prune_svd",
    ] = "cat"
    density: float | None = None  # share of values kept
    majority_sign_method: Literal["total", "frequency"] = "total"
    svd_rank: int | None = None  # None: the largest rank among the adapters


@dataclass(frozen=True, kw_only=True)
class Card:
    """What only the author knows about a model: fields of huggingface_hub's `ModelCardData`."""

    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    language: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str = ""  # the card's first paragraph


@dataclass(frozen=True, kw_only=True)
class Export(Stage):
    """The finished model in the forms that others take, each read back and compared."""

    kind: ClassVar[str] = "export"
    version: ClassVar[int] = 1

    formats: tuple[Literal["safetensors", "adapter", "gguf", "ollama", "bnb4"], ...] = (
        "safetensors",
    )
    # types of GGUF files, one file each; the last one is Ollama's
    gguf: tuple[Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"], ...] = (
        "f16",
    )
    prompts: int = 50  # of the training data, asked of the model and of each file
    card: Card = field(default_factory=Card)
    push: str | None = None  # owner/name on the hub
    private: bool = True
