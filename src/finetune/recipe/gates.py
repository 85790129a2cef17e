"""What a chain requires of a model's scores to go on: `require: {rougeL: ">= base + 5"}`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_NAME = r"[A-Za-z][A-Za-z0-9._-]*"
_RULE = re.compile(
    rf"(?P<sign>>=|<=|>|<)\s*(?:(?P<value>-?(?:{_NUMBER}))"
    rf"|(?P<against>{_NAME})(?:\s*(?P<plus>[+]|(?<=\s)-)\s*(?P<offset>{_NUMBER}))?)"
)
# Rows of the table that no model makes; tasks fill them.
BASELINES = ("lead-3", "longest-3", "most_frequent_query")
EXAMPLE = "'>= 30', '>= base + 5' or '< base'"


@dataclass(frozen=True)
class Gate:
    """A bound on one metric: a number, or another model's score and a distance from it."""

    task: str  # empty: the task that has the metric
    metric: str
    sign: str
    offset: float
    against: str = ""  # the model whose score `offset` is added to

    @property
    def bound(self) -> str:
        """The bound as a recipe writes it."""
        if not self.against:
            return f"{self.sign} {self.offset:g}"
        distance = f" {'-' if self.offset < 0 else '+'} {abs(self.offset):g}" if self.offset else ""
        return f"{self.sign} {self.against}{distance}"

    @property
    def name(self) -> str:
        """The metric, with its task where the recipe names it."""
        return f"{self.task}.{self.metric}" if self.task else self.metric


def parse(name: str, rule: str, tasks: tuple[str, ...]) -> Gate:
    """The gate that `name: rule` writes in a stage that scores `tasks`.

    Raises:
        ValueError: the rule is none.
    """
    found = _RULE.fullmatch(rule.strip())
    if found is None:
        raise ValueError(f"{rule!r} is no bound; write {EXAMPLE}")
    task = next((each for each in tasks if name.startswith(f"{each}.")), "")
    offset = float(found["value"] or found["offset"] or 0)
    return Gate(
        task=task,
        metric=name.removeprefix(f"{task}.") if task else name,
        sign=found["sign"],
        offset=-offset if found["plus"] == "-" else offset,
        against=found["against"] or "",
    )
