"""Deep models from shallow ones: what layers take is the same for each, so two depths tell all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from finetune.models.load import read_config
from finetune.recipe.types import Base

Parts = dict[str, int]  # bytes by part, all alive at one moment
Peaks = Mapping[str, Counter[str]]  # of each phase of a step


def of_all_layers(base: Base, look: Callable[[int], Peaks]) -> Parts:
    """The largest of the phases' peaks, where `look` gives them for a model of so many layers."""
    return largest(by_phase(base, look))


def by_phase(base: Base, look: Callable[[int], Peaks]) -> Peaks:
    """The peak of each phase, where `look` gives them for a model of so many layers.

    In each phase memory grows by the same bytes with every layer (with every group of them, where
    kinds of layers take turns), so a deep model is a line through two shallow ones.
    """
    config = read_config(base).get_text_config()
    depth, period = int(config.num_hidden_layers), _period(config)
    low, high = 2 * period, 3 * period
    if depth <= high or depth % period:
        return look(depth)
    first, second = look(low), look(high)
    return {name: _line(first[name], at, (depth - high) / period) for name, at in second.items()}


def _line(first: Counter[str], second: Counter[str], groups: float) -> Counter[str]:
    return Counter(
        {part: round(size + groups * (size - first[part])) for part, size in second.items()}
    )


def largest(peaks: Peaks) -> Parts:
    most = max(peaks.values(), key=Counter.total)
    return {part: size for part, size in most.items() if part and size}


def _period(config: Any) -> int:
    """After how many layers their kinds repeat."""
    kinds = getattr(config, "layer_types", None) or [""]
    sizes = range(1, len(kinds) + 1)
    return next(
        size for size in sizes if all(kinds[n] == kinds[n % size] for n in range(len(kinds)))
    )
