"""What the types of a recipe are made of: settings of library classes, and what stages share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

Settings = dict[str, Any]
ENVIRONMENT = {"environment": True}  # a text in which ${NAME} is replaced


def fills(*classes: str) -> dict[str, tuple[str, ...]]:
    """Metadata of a field whose keys are those of the library classes named."""
    return {"fills": classes}


def named_by(key: str, prefix: str) -> dict[str, tuple[str, str]]:
    """Metadata of a field whose `key` names the class that its other keys fill."""
    return {"named_by": (key, prefix)}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What all stages have; `name` is the kind unless a kind stands twice."""

    kind: ClassVar[str]
    version: ClassVar[int]  # raised when the stage's own code would give another result

    name: str
    from_: str | None = None  # the stage whose model this one starts from; None: the one before
