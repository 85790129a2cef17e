"""How many bytes there are, in words."""

from __future__ import annotations

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def size_text(count: float) -> str:
    """To three digits, in units of a thousand: 512 bytes, 1.23 MB, 45.6 GB, 812 GB."""
    unit = 0
    while abs(count) >= 999.5 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    digits = 0 if unit == 0 or abs(count) >= 99.95 else 1 if abs(count) >= 9.995 else 2
    return f"{count:.{digits}f} {UNITS[unit]}"
