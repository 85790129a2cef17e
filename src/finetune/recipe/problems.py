"""All that is wrong with a recipe, gathered while it is read, and names that come near."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from finetune.errors import Problem, RecipeError
from finetune.recipe.tree import Place


@dataclass
class Problems:
    """What has been found so far, and at which keys (`sft.lora.r`)."""

    found: list[Problem] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def add(self, place: Place, message: str, key: str = "") -> None:
        """Note one problem, once."""
        problem = Problem(f"{key}: {message}" if key else message, place.source, place.line)
        self.keys.add(key)
        if problem not in self.found:
            self.found.append(problem)

    def touch(self, *keys: str) -> bool:
        """Whether a problem is known at, below or above one of these keys.

        What rests on a mistaken value is not judged: it would only repeat the mistake.
        """
        return any(
            one == key or one.startswith((f"{key}.", f"{key}[")) or self.within(key)
            for key in keys
            for one in self.keys
        )

    def within(self, key: str) -> bool:
        """Whether a problem is known at this very key, or at a block that holds it."""
        return any(one == key or key.startswith((f"{one}.", f"{one}[")) for one in self.keys if one)

    def stop(self) -> None:
        """Raise what was found, if anything was.

        Raises:
            RecipeError: something was found.
        """
        if self.found:
            raise RecipeError(self.found)


def near(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, if one is like it at all."""
    import difflib

    lowered = {each.lower().replace("-", "_"): each for each in known}
    found = difflib.get_close_matches(name.lower().replace("-", "_"), list(lowered), 1, 0.6)
    return lowered[found[0]] if found else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the few names that there are, or nothing."""
    names = list(known)
    if match := near(name, names):
        return f"; did you mean '{match}'?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= 15 else ""
