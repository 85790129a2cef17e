"""Which layout rows have, told from their columns and values, and said aloud."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.data.conversions import NAMES, Convert, conversion
from finetune.data.documents import Row
from finetune.data.layouts import Layout, shape
from finetune.data.rows import describe
from finetune.errors import DataError
from finetune.recipe.types import Rows


@dataclass(frozen=True)
class Reading:
    """How the rows of a source are read: their layout, what is made of it, and both in words."""

    layout: Layout
    convert: Convert
    said: str


def recognise(first: Sequence[Row], rows: Rows, wanted: type, layouts: Sequence[Layout]) -> Reading:
    """The reading of rows that begin with these `first` ones.

    Of the layouts whose columns are there, one that reads more columns hides one that reads fewer
    of the same. What is left must be one of the wanted kind, or one that becomes that kind.

    Raises:
        DataError: none fits or several do; the message says how to name one.
    """
    shapes = _shapes(first)
    _check_columns(rows, shapes)
    named = [each for each in layouts if rows.format in {None, each.name}]
    fitting = _fitting(named, first, by_shape=True)
    # Where no shapes fit the names of columns may: each row is then told what is wrong with it.
    by_name = [] if _chosen(fitting, wanted, ()) else _fitting(named, first, by_shape=False)
    found = _chosen(fitting or by_name, wanted, rows.columns) or _chosen(by_name, wanted, ())
    if len(found) > 1:
        raise _several(found, rows)
    if not found:
        what, remedy = _unfit(fitting, named, shapes, wanted)
        raise DataError(what, where=describe(rows), remedy=remedy)
    fit = layout, columns = found[0]
    _check_named(rows, layout, columns)
    made = conversion(layout.kind, wanted)
    assert made is not None, "only layouts that become the wanted kind are chosen"
    return Reading(layout, made[0], _said(fit, shapes, rows, made[1]))


# A column of 0, 1 and 2 is no column of flags, however many are 0 and 1.
WIDER = {"truth": "text", "flag": "number"}
Fit = tuple[Layout, tuple[str, ...]]  # a layout, and the columns it reads here


def _shapes(rows: Sequence[Row]) -> dict[str, str]:
    """Column -> the most frequent shape of its values, nulls aside; of wider ones the wider."""
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        for name, value in row.items():
            counts.setdefault(name, Counter())[shape(value)] += 1
    return {name: _most(found) for name, found in counts.items()}


def _most(found: Counter[str]) -> str:
    most = next((each for each, _ in found.most_common() if each != "null"), "null")
    wider = WIDER.get(most, most)
    return wider if wider in found else most


def _fitting(layouts: Sequence[Layout], first: Sequence[Row], by_shape: bool) -> list[Fit]:
    """Layouts that the columns have, and their shapes if that is asked; each reading once."""
    plain = _shapes(first)
    fits: dict[tuple[Any, ...], Fit] = {}
    for layout in layouts:
        shapes = _shapes(_prepared(first, layout)) if layout.prepare else plain
        if all(
            name in shapes and (not by_shape or shapes[name] in wanted)
            for name, wanted in layout.needs.items()
        ):
            columns = layout.columns(list(shapes))
            reading = (frozenset(columns), layout.title if by_shape else "", layout.kind)
            fits.setdefault(reading, (layout, columns))
    found = list(fits.values())
    return [fit for fit in found if not any(set(fit[1]) < set(other[1]) for other in found)]


def _prepared(first: Sequence[Row], layout: Layout) -> list[Row]:
    assert layout.prepare is not None
    made = layout.prepare(list(first))
    return [row if isinstance(row, dict) else old for row, old in zip(made, first, strict=True)]


def _chosen(fitting: Sequence[Fit], wanted: type, renamed: Collection[str]) -> list[Fit]:
    direct = [fit for fit in fitting if fit[0].kind is wanted]
    found = direct or [fit for fit in fitting if conversion(fit[0].kind, wanted)]
    # Columns that the recipe has named are meant to be read.
    return [fit for fit in found if set(renamed) <= set(fit[1])] or found


def _check_columns(rows: Rows, shapes: Mapping[str, str]) -> None:
    absent = [theirs for ours, theirs in rows.columns.items() if ours not in shapes]
    if absent:
        here = [rows.columns.get(name, name) for name in shapes]
        close = difflib.get_close_matches(absent[0], here, 1)
        meant = f"Did you mean {close[0]!r}? " if close else ""
        raise DataError(
            f"no column {absent[0]!r}",
            where=describe(rows),
            remedy=f"{meant}data.columns maps our name to the file's; here are: "
            f"{', '.join(map(_named, here))}.",
        )


def _named(column: str) -> str:
    """A column's name, quoted where blanks at its ends would not be seen."""
    return column if column == column.strip() else repr(column)


def _check_named(rows: Rows, layout: Layout, columns: Sequence[str]) -> None:
    """A column that was given a name is read. What a task reads beside its needs is its own."""
    unread = [name for name in rows.columns if name not in columns]
    if unread and layout.prepare is None:
        theirs = rows.columns[unread[0]]
        raise DataError(
            f"column {theirs!r} is named {unread[0]!r}, which {layout.title} do not have",
            where=describe(rows),
            remedy=f"Their columns are: {', '.join((*layout.needs, *layout.may))}.",
        )


def _said(fit: Fit, shapes: Mapping[str, str], rows: Rows, converted: str) -> str:
    """The reading in words; columns have the names that the file gives them."""
    layout, columns = fit
    talks = ", conversational" * any(shapes.get(name) == "messages" for name in columns)
    read = "/".join(rows.columns.get(name, name) for name in columns)
    unread = [name for name in shapes if name not in columns and layout.prepare is None]
    parts = [
        f"reads as {layout.title}{talks}, from {read}",
        converted,
        f"not read: {', '.join(map(_named, unread))}" if unread else "",
    ]
    return "; ".join(part for part in parts if part)


def _several(found: Sequence[Fit], rows: Rows) -> DataError:
    listed = " or ".join(f"{fit[0].name} from {'/'.join(fit[1])}" for fit in found)
    return DataError(
        f"the rows may be read in {len(found)} ways: {listed}",
        where=describe(rows),
        remedy="Name one with data.format, or its columns with data.columns, such as "
        f"{_example(found[0])}.",
    )


def _unfit(
    fitting: Sequence[Fit], named: Sequence[Layout], shapes: Mapping[str, str], wanted: type
) -> tuple[str, str]:
    """What is wrong with rows that have no reading of the wanted kind, and the way out."""
    has = ", ".join(f"{_named(name)} ({kind})" for name, kind in shapes.items())
    if not fitting:
        return f"cannot tell what the columns mean: {has}", _ways(named, wanted)
    layout, columns = fitting[0]
    return (
        f"the rows are {NAMES.get(layout.kind, layout.title)} (from {'/'.join(columns)}), and "
        f"{NAMES.get(wanted, 'rows of a task')} are wanted",
        f"The columns are: {has}. {_ways(named, wanted)}",
    )


def _example(fit: Fit) -> str:
    ours = ("prompt", "completion") if fit[0].name == "prompt_completion" else fit[1]
    pairs = ", ".join(f"{our}: {theirs}" for our, theirs in zip(ours, fit[1], strict=False))
    return f"{{{pairs}}}"


def _ways(layouts: Sequence[Layout], wanted: type) -> str:
    """The layouts that would do, each once, with its columns."""
    known: dict[str, str] = {}
    for layout in layouts:
        if layout.kind is wanted:
            known.setdefault(layout.name, ", ".join(layout.needs))
    listed = "; ".join(f"{name} ({columns})" for name, columns in known.items())
    name = NAMES.get(wanted, "rows").capitalize()
    first = next(iter(known.values()), "")
    example = f", such as columns: {{{first.replace(',', ': YOURS,')}: YOURS}}" if first else ""
    return f"{name} come as {listed}; data.columns renames{example}."
