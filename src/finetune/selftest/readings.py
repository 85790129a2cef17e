"""What a check measured, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reading:
    """One measured number and the most it may be."""

    what: str
    measured: float
    bound: float

    @property
    def passed(self) -> bool:
        """Whether it is within its bound; not a number never is."""
        return self.measured <= self.bound


@dataclass(frozen=True)
class Outcome:
    """A check that has run: what it measured, or why it could not."""

    check: str
    readings: tuple[Reading, ...] = ()
    error: str = ""
    device: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether it ran to its end, and every number is within its bound."""
        return not self.error and all(each.passed for each in self.readings)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        readings = [{**vars(each), "passed": each.passed} for each in self.readings]
        return {
            "check": self.check,
            "passed": self.passed,
            "readings": readings,
            "error": self.error,
            "device": self.device,
            "seconds": round(self.seconds, 1),
        }
