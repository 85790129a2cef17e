"""Plain text for a terminal: numbers and columns. No colour, no box drawing."""

from __future__ import annotations

import math
from typing import Any

WIDTH = 100


def number(value: Any) -> str:
    """A value with as many digits as mean something."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) >= 1000):
        return f"{int(value):,}".replace(",", " ")
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.1e}"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def spread(value: float) -> str:
    """Half the width of an interval: two digits of it mean something."""
    if not math.isfinite(value) or value <= 0:
        return "0" if value == 0 else str(value)
    decimals = max(0, 1 - math.floor(math.log10(value)))
    return f"{value:.{decimals}f}" if decimals < 6 else f"{value:.1e}"


def duration(seconds: Any) -> str:
    """A time as a person says it; empty when it is not known."""
    if not isinstance(seconds, int | float):
        return ""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def columns(rows: list[list[str]], *, right: bool) -> str:
    """Rows as aligned columns; numbers to the right, sentences to the left and wrapped."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines: list[str] = []
    for row in rows:
        cells = [
            cell.rjust(width) if right and index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines += _fold("  ".join(cells).rstrip(), indent=sum(widths[:-1]) + 2 * len(widths) - 2)
    return "\n".join(lines)


def _fold(line: str, indent: int) -> list[str]:
    """Break a line that is too long for the terminal at a comma or space."""
    if len(line) <= WIDTH or indent > WIDTH // 2:
        return [line]
    cut = max(line.rfind(" ", indent, WIDTH), indent)
    if cut == indent:
        return [line]
    return [line[:cut], *_fold(" " * indent + line[cut:].strip(), indent)]
