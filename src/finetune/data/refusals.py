"""Rows that cannot be used: counted, the first ones remembered, all of them kept for a file."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from finetune.data.lines import NOT_UTF8, as_utf8
from finetune.errors import DataError

if TYPE_CHECKING:
    from finetune.data.examples import Origin

NAMED = 10  # rows named one by one in a message
IN_MEMORY = 1_000_000  # bytes of refused rows before they go to a file
REASONS = 100  # different reasons counted apart


class Refusals:
    """What was left out of some data: `count` of the `read` rows, by `reasons`, `first` of all."""

    def __init__(self) -> None:
        self.read = 0
        self.count = 0
        self.reasons: Counter[str] = Counter()
        self.first: list[tuple[Origin, str]] = []
        self._rows: IO[bytes] | None = None

    def add(self, origin: Origin, reason: str, row: Any) -> None:
        """Note one row; `row` is what there is of it, as data or as text."""
        self.count += 1
        if reason in self.reasons or len(self.reasons) < REASONS:
            self.reasons[reason] += 1
        if len(self.first) < NAMED:
            self.first.append((origin, reason))
        if self._rows is None:
            self._rows = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        record = {"file": origin.file, "line": origin.line, "reason": reason}
        try:
            line = json.dumps({**record, "row": row}, default=str)
        except (RecursionError, ValueError):
            line = json.dumps(record)  # nested without end: the line it stands in is named
        self._rows.write(line.encode() + b"\n")

    def write(self, path: Path) -> None:
        """All refused rows as JSON lines: `file`, `line`, `reason`, `row`."""
        with path.open("wb") as file:
            if self._rows is not None:
                self._rows.seek(0)
                shutil.copyfileobj(self._rows, file)
                self._rows.seek(0, 2)

    def summary(self) -> str:
        """The reasons, most frequent first."""
        shown = [f"{count:,} {reason}" for reason, count in self.reasons.most_common(3)]
        more = self.count - sum(count for _, count in self.reasons.most_common(3))
        return "; ".join([*shown, *([f"{more:,} for other reasons"] if more else [])])

    def error(self, where: str, remedy: str) -> DataError:
        """The first ten by place and reason, and the count of all."""
        by_reason: dict[tuple[str, str], list[str]] = {}
        for origin, reason in self.first:
            place = str(origin).removeprefix(origin.file).split()
            by_reason.setdefault((origin.file, reason), []).append(place[1])
        unit = place[0]
        single = len({origin.file for origin, _ in self.first}) == 1
        listed = [
            f"{'' if single else file + ' '}{unit}{'s' if len(lines) > 1 else ''} "
            f"{', '.join(lines)}: {reason}"
            for (file, reason), lines in by_reason.items()
        ]
        if self.count > len(self.first):
            listed.append(f"and {self.count - len(self.first):,} more")
        if any(NOT_UTF8 in reason for _, reason in self.first):
            remedy = f"{as_utf8(self.first[0][0].file)}\n  {remedy}"
        head = f"{self.count:,} of {self.read:,} rows cannot be used"
        what = f"{head}: {listed[0]}" if len(listed) == 1 else "\n    ".join([head, *listed])
        return DataError(
            what,
            where=self.first[0][0].file if single else where,
            remedy=remedy,
        )
