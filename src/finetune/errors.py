"""The exceptions a user may see: where it is, what is wrong, and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

AGAIN = 75  # sysexits.h: a failure that may be gone at the next try


class FinetuneError(Exception):
    """A mistake or mishap that the user can mend; printed without a traceback.

    `where` is a file and line, a stage or a folder; `remedy` is a full sentence. `code` is what
    the command ends with: 1 for what comes again if nothing is changed, `AGAIN` for what may not.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "", code: int = 1) -> None:
        super().__init__(what)
        self.what, self.where, self.remedy, self.code = what, where, remedy, code

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  {self.remedy}" if self.remedy else head

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross from a stage's process to the chain's; keyword arguments need spelling out.
        return _rebuild, (type(self), self.what, self.where, self.remedy, self.code)


def _rebuild(
    kind: type[FinetuneError], what: str, where: str, remedy: str, code: int
) -> FinetuneError:
    error = kind.__new__(kind)
    FinetuneError.__init__(error, what, where=where, remedy=remedy, code=code)
    return error


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a recipe, at a line of a file (0: no line, as on the command line)."""

    message: str
    source: str
    line: int = 0


class RecipeError(FinetuneError):
    """All that is wrong with a recipe, found before anything runs."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self._text())

    def _text(self) -> str:
        lines: list[str] = []
        for source in dict.fromkeys(problem.source for problem in self.problems):
            found = [problem for problem in self.problems if problem.source == source]
            lines.append(f"{source}: {len(found)} problem{'s' if len(found) > 1 else ''}")
            for problem in sorted(found, key=lambda each: each.line):
                place = f"line {problem.line}: " if problem.line else ""
                lines.append(f"  {place}{problem.message}")
        return "\n".join(lines)


class StoreError(FinetuneError):
    """The run folder cannot be used: locked, read-only, full or damaged."""


class DataError(FinetuneError):
    """Rows that cannot be read or trained on."""
