"""Values for cells: near a constant on either side of it, or like those that a column has."""

from __future__ import annotations

import string
from collections.abc import Callable
from random import Random
from typing import Any

from finetune.metrics.sql_test_suite.patterns import Condition

_WORDS = ("amber", "birch", "cobalt", "delta", "ember", "fjord", "grove", "harbor", "iris", "juno")


def near(value: Any, rng: Random) -> Any:
    """Another value a hair away from a constant."""
    if isinstance(value, int):
        return value + rng.choice((-2, -1, 1, 2))
    if isinstance(value, float):
        return round(value + rng.choice((-1, -0.5, 0.5, 1)), 6)
    number = as_number(value)
    if number is not None:
        return str(near(number, rng))
    return rng.choice(
        (
            value + rng.choice("xz"),
            rng.choice("xz") + value,
            value[:-1] or "x",
            value.swapcase(),
            value[1:] or "x",
        )
    )


def as_number(value: str) -> int | float | None:
    """The number that a text spells."""
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        return number if abs(number) < 1e15 and value.strip() == value else None
    return None


def meeting(condition: Condition, rng: Random) -> Any:
    """A value that meets a condition, on its very edge or not far from it."""
    if condition.sign == "null":
        return None
    if condition.sign == "like":
        return _like(str(condition.values[0]), rng)
    low, high = condition.values[0], condition.values[-1]
    above, below = _moved(low, 1, rng), _moved(high, -1, rng)
    return rng.choice(
        {
            "!=": [near(low, rng)],
            ">": [above],
            "<": [below],
            ">=": [low, low, above],
            "<=": [high, high, below],
            "between": [low, high, above, below],
        }.get(condition.sign, condition.values)
    )


class _Any:
    """Stands for whatever value the column would have by itself."""


ANY = _Any()


def missing(condition: Condition, rng: Random) -> Any:
    """A value that misses a condition, closely most of the time; `ANY` where any may do."""
    if condition.sign == "null":
        return ANY
    if condition.sign == "like":
        return _unlike(str(condition.values[0]), rng)
    low, high = condition.values[0], condition.values[-1]
    below, above = _moved(low, -1, rng), _moved(high, 1, rng)
    return rng.choice(
        {
            "!=": [low],
            ">": [low, low, below],
            "<": [high, high, above],
            ">=": [below],
            "<=": [above],
            "between": [below, above],
        }.get(condition.sign, [near(rng.choice(condition.values), rng), ANY])
    )


def fresh(kind: str, name: str, rng: Random) -> Any:
    """A value for a column of which nothing is known but its type and name."""
    kind = f"{kind} {name}".lower()
    for words, draw in _KINDS:
        if any(word in kind for word in words):
            return draw(rng)
    return " ".join(rng.choices(_WORDS, k=rng.choice((1, 1, 2))))


def _day(rng: Random) -> str:
    return f"{rng.randint(2000, 2023)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


# What a column's type and name speak of, the first that fits.
_KINDS: tuple[tuple[tuple[str, ...], Callable[[Random], Any]], ...] = (
    (("time",), lambda rng: f"{_day(rng)} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}:00"),
    (("date",), _day),
    (("year",), lambda rng: rng.randint(1960, 2023)),
    (("bool",), lambda rng: rng.randint(0, 1)),
    (("int",), lambda rng: rng.randint(1, 100)),
    (("real", "floa", "doub", "num", "dec"), lambda rng: rng.randint(1, 400) / 4),
    (("blob",), lambda rng: rng.randbytes(4)),
)


def apart(value: Any, rng: Random) -> Any:
    """A value of the same kind and some way off, so that ties are rare."""
    if isinstance(value, int):
        return value + rng.randint(0, 500)
    if isinstance(value, float):
        return value + rng.randint(0, 5_000) / 8
    if isinstance(value, str) and (number := as_number(value)) is not None:
        return str(apart(number, rng))
    return unused(value, rng)


def unused(value: Any, rng: Random) -> Any:
    """A value of the same kind that is hardly in use; of NULL, NULL."""
    if value is None:
        return None
    if isinstance(value, int | float):
        return int(value) + rng.randint(1, 10_000)
    if isinstance(value, str) and (number := as_number(value)) is not None:
        return str(int(number) + rng.randint(1, 10_000))
    tail = "".join(rng.choice(string.ascii_lowercase) for _ in range(3))
    return value + tail.encode() if isinstance(value, bytes) else f"{value}{tail}"


def _moved(value: Any, side: int, rng: Random) -> Any:
    """A value above or below, by little or by much."""
    if isinstance(value, str):
        number = as_number(value)
        if number is not None:
            return str(_moved(number, side, rng))
        if not value:
            return "a" if side > 0 else ""
        last = chr(min(0x10FFFF, max(33, ord(value[-1]) + side)))
        return value[:-1] + last
    step = rng.choice((1, 1, 1, 2, max(1, abs(int(value)) // 3)))
    return value + side * (step if isinstance(value, int) else step * rng.choice((0.5, 1)))


def _like(pattern: str, rng: Random) -> str:
    parts = [
        rng.choice(("", "q", "xy")) if c == "%" else rng.choice("ab") if c == "_" else c
        for c in pattern
    ]
    return "".join(parts)


def _unlike(pattern: str, rng: Random) -> str:
    """The pattern's own letters in the wrong place, or with something before or after them."""
    text = pattern.replace("%", "").replace("_", "a")
    return rng.choice((f"q{text}", f"{text}q", f"q{text}q", text[1:] or "q", text[::-1]))
