"""Rows for one query: some that it returns, some that it just does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from finetune.metrics.sql_test_suite.patterns import Condition, Pattern, Place
from finetune.metrics.sql_test_suite.values import ANY, meeting, missing, unused

if TYPE_CHECKING:
    from finetune.metrics.sql_test_suite.fill import Copy

# Shares of witnesses: one condition is missed; values shown are new; or the same in each row.
_MISSES, _NEW, _ALIKE = 0.5, 0.3, 0.3


def witness(copy: Copy, pattern: Pattern) -> None:
    """Add the rows of every table of the pattern, joined, once or as often as a group needs.

    Rows of one witness may show the same values, which tells DISTINCT, or values that nothing
    else has, so that one row more or less is seen.
    """
    rng = copy.rng
    classes = _classes(pattern)
    missed = (
        rng.choice(pattern.conditions) if pattern.conditions and rng.random() < _MISSES else None
    )
    held = _new(copy, pattern, classes) if rng.random() < _NEW else {}
    alike = rng.random() < _ALIKE
    for _ in range(_times(copy, pattern, alike)):
        values = _values(copy, pattern, classes, missed, held)
        for number, table in enumerate(pattern.tables):
            fixed = {
                column: values[kind]
                for (where, column), kind in classes.items()
                if where == number and kind in values
            }
            copy.add(table, fixed)
        kinds = {*_held(copy, pattern, classes), *(_shown(pattern, classes) if alike else ())}
        held = {kind: values[kind] for kind in kinds if kind in values}


def _times(copy: Copy, pattern: Pattern, alike: bool) -> int:
    if pattern.sizes:
        size = copy.rng.choice(pattern.sizes)
        return max(1, size + copy.rng.choice((-1, 0, 0, 1, 1)))
    if pattern.groups:  # now and then enough to be the largest group
        return copy.rng.choice((1, 2, 3, 9))
    return 2 if alike else 1


def _shown(pattern: Pattern, classes: dict[Place, int]) -> list[int]:
    return [classes[place] for place in pattern.shown if place in classes]


def _new(copy: Copy, pattern: Pattern, classes: dict[Place, int]) -> dict[int, Any]:
    """Values that no row shows yet, for what is shown and asked nothing of."""
    asked = {classes[condition.place] for condition in pattern.conditions}
    return {
        classes[place]: unused(copy.pools.draw(pattern.tables[place[0]], place[1]), copy.rng)
        for place in pattern.shown
        if place in classes and classes[place] not in asked
    }


def _classes(pattern: Pattern) -> dict[Place, int]:
    """A number for each place that a value is chosen for; places that must be equal share it."""
    places = [
        *(condition.place for condition in pattern.conditions),
        *(place for pair in pattern.equal for place in pair),
        *pattern.groups,
        *(place for place in pattern.shown if place),
    ]
    classes = {place: number for number, place in enumerate(dict.fromkeys(places))}
    for one, other in pattern.equal:
        old, new = classes[other], classes[one]
        classes = {place: new if kind == old else kind for place, kind in classes.items()}
    return classes


def _held(copy: Copy, pattern: Pattern, classes: dict[Place, int]) -> Iterable[int]:
    """What stays the same from one row of a group to the next."""
    tables = {number for number, _ in pattern.groups}
    whole = copy.rng.random() < 0.5  # the very row of the group's table, or another one like it
    for place, kind in classes.items():
        if place in pattern.groups or (
            whole and place[0] in tables and _is_key(copy, pattern, place)
        ):
            yield kind


def _values(
    copy: Copy,
    pattern: Pattern,
    classes: dict[Place, int],
    missed: Condition | None,
    held: dict[int, Any],
) -> dict[int, Any]:
    values = dict(held)
    for condition in copy.rng.sample(pattern.conditions, len(pattern.conditions)):
        kind = classes[condition.place]
        if kind not in held:
            choose = missing if condition is missed else meeting
            value = choose(condition, copy.rng)
            if value is not ANY:
                values[kind] = value
    for place, kind in classes.items():
        if kind not in values:
            same = [each for each, number in classes.items() if number == kind]
            values[kind] = _shared(copy, pattern, same or [place])
    return values


def _shared(copy: Copy, pattern: Pattern, places: list[Place]) -> Any:
    """A value for columns that join: a key that is there or a new one, else what they hold."""
    keys = [place for place in places if _is_key(copy, pattern, place)]
    number, column = (keys or places)[0]
    table = pattern.tables[number]
    rows = copy.rows[table]
    if keys and rows and copy.rng.random() < 0.5:
        return copy.rng.choice(rows)[column]
    return copy.pools.draw(table, column)


def _is_key(copy: Copy, pattern: Pattern, place: Place) -> bool:
    table = copy.tables[pattern.tables[place[0]]]
    return [place[1]] in [[column.lower() for column in key] for key in table.unique]
