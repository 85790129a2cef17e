"""Metrics that a recipe chooses: the package's by name, `evaluate` modules by their folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError
from finetune.metrics.exact_match import matching
from finetune.metrics.extractiveness import fragments
from finetune.metrics.rouge import scoring as rouge
from finetune.tasks.base import Metric

Part = tuple[str, list[str]]  # a row's prompt and references
ANNOUNCED = {
    "exact_match": (Metric("exact_match"),),
    "rouge": tuple(Metric(name) for name in rouge.ROUGES),
    "extractiveness": (
        Metric("coverage", "neither", ""),
        Metric("density", "neither", "words"),
        *(Metric(name, "neither") for name in fragments.NGRAMS),
        Metric("words", "neither", "words"),
    ),
}


def announced(name: str) -> tuple[Metric, ...]:
    """The columns of a metric of the package."""
    return ANNOUNCED.get(name, ())


def check(name: str) -> None:
    """Refuse a metric that is neither in the package nor a module on this machine.

    Raises:
        FinetuneError: naming those that there are.
    """
    if name in ANNOUNCED or files(name):
        return
    raise FinetuneError(
        f"no metric {name!r}",
        remedy=f"There are {', '.join(ANNOUNCED)}; or give the folder of an `evaluate` module.",
    )


def files(name: str) -> list[Path]:
    """The code of a module from outside."""
    path = Path(name).expanduser()
    if name in ANNOUNCED or not path.exists():
        return []
    return [path.resolve()] if path.is_file() else sorted(path.resolve().glob("*.py"))


def score(name: str, predictions: Sequence[str], parts: Sequence[Part]) -> list[dict[str, float]]:
    """A metric's scores of each row."""
    references = [right for _, right in parts]
    if name == "exact_match":
        return matching.score_rows(predictions, references)
    if name == "rouge":
        return rouge.score_rows(predictions, references)
    if name == "extractiveness":
        return fragments.score_rows(predictions, [prompt for prompt, _ in parts])
    return [
        _numbers(name, prediction, right)
        for prediction, right in zip(predictions, references, strict=True)
    ]


def _numbers(name: str, prediction: str, references: list[str]) -> dict[str, float]:
    """What a module says of one row alone: the score of a data set is the mean of its rows."""
    module, several = _module(name)
    try:
        found = module.compute(
            predictions=[prediction], references=[references if several else references[0]]
        )
    except Exception as error:
        raise FinetuneError(
            f"the metric {name!r} cannot score {prediction[:60]!r}: {error}",
            remedy="It must take `predictions` and `references` as texts.",
        ) from error
    numbers = {key: float(value) for key, value in found.items() if isinstance(value, Real)}
    if not numbers:
        raise FinetuneError(
            f"the metric {name!r} returns no number", remedy=f"It returned: {', '.join(found)}."
        )
    return numbers


@cache
def _module(name: str) -> tuple[Any, bool]:
    """The module, and whether it takes several references a row."""
    import evaluate

    try:
        module = evaluate.load(str(Path(name).expanduser().resolve()), keep_in_memory=True)
    except Exception as error:
        raise FinetuneError(
            f"the metric {name!r} cannot be loaded: {error}",
            remedy="Give a folder that holds NAME/NAME.py with an `evaluate.Metric`.",
        ) from error
    features = module.features if isinstance(module.features, list) else [module.features]
    several = any(_is_list(each.get("references")) for each in features)
    return module, several


def _is_list(feature: Any) -> bool:
    return isinstance(feature, list) or type(feature).__name__ in {"Sequence", "List", "LargeList"}
