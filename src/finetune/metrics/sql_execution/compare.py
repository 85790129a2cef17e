"""Whether two query results are the same.

The rules of the test-suite reference (Zhong et al. 2020, taoyds/test-suite-sql-eval): rows in
order only where the right query orders them, duplicates count, columns may come in another order,
and two empty results are equal. Unlike there, numbers may differ by rounding.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

Row = tuple[Any, ...]
Cell = tuple[str, Any]
Column = tuple[Cell, ...]

_TOLERANCE = 1e-9  # relative, and absolute near 0: what another order of adding up can change
_MOST_TRIES = 2_000  # column orders looked at before two results are called different


def equal_results(gold: Sequence[Row], predicted: Sequence[Row], *, ordered: bool) -> bool:
    """Whether `predicted` holds the rows of `gold`, up to the order of columns.

    NULL equals only NULL, a number never equals a text, and 1 equals 1.0.
    """
    if len(gold) != len(predicted):
        return False
    if not gold:
        return True
    if len(gold[0]) != len(predicted[0]):
        return False
    names = _number_names([*gold, *predicted])
    right, other = _columns(gold, names), _columns(predicted, names)
    if ordered:
        return Counter(right) == Counter(other)
    return _match(right, other)


def _columns(rows: Sequence[Row], names: dict[float, int]) -> list[Column]:
    return list(zip(*([_cell(value, names) for value in row] for row in rows), strict=True))


def _cell(value: Any, names: dict[float, int]) -> Cell:
    if isinstance(value, int | float):
        return "number", names[value]
    return type(value).__name__, value


def _number_names(rows: Sequence[Row]) -> dict[float, int]:
    """A name for each number, the same for numbers that differ by rounding only.

    Neighbours in size share a name, so there is no boundary at which rounding would part them.
    """
    numbers = sorted({v for row in rows for v in row if isinstance(v, int | float)})
    names: dict[float, int] = {}
    name, before = 0, None
    for number in numbers:
        name += before is not None and not _close(before, number)
        names[number] = name
        before = number
    return names


def _close(one: float, other: float) -> bool:
    if isinstance(one, int) and isinstance(other, int):
        return False  # whole numbers are exact, and this list holds each once
    return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


def _match(right: list[Column], other: list[Column]) -> bool:
    """Whether some order of `other`'s columns gives the rows of `right`, as a bag."""
    bags = [Counter(column) for column in other]
    fits = [[i for i, bag in enumerate(bags) if bag == Counter(column)] for column in right]
    tries = 0

    def extend(chosen: list[int]) -> bool:
        nonlocal tries
        if len(chosen) == len(right):
            return True
        seen: set[Column] = set()  # columns alike in every row are interchangeable
        for place in fits[len(chosen)]:
            if place in chosen or other[place] in seen or tries > _MOST_TRIES:
                continue
            seen.add(other[place])
            tries += 1
            longer = [*chosen, place]
            if _same_rows(right[: len(longer)], [other[i] for i in longer]) and extend(longer):
                return True
        return False

    return extend([])


def _same_rows(one: list[Column], other: list[Column]) -> bool:
    return Counter(zip(*one, strict=True)) == Counter(zip(*other, strict=True))
