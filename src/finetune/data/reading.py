"""From what a recipe's `data` names to examples on disk, in one pass over the rows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, TypeVar

from finetune.data import mixture
from finetune.data.documents import Row
from finetune.data.examples import BadRow, Conversation, Examples, Origin, encode
from finetune.data.formats import Reading, recognise
from finetune.data.layouts import Layout
from finetune.data.lines import Broken
from finetune.data.refusals import Refusals
from finetune.data.rows import Raw, describe, stream
from finetune.data.shots import dress
from finetune.data.store import Shelf
from finetune.errors import DataError
from finetune.recipe.types import Data, Recipe, Rows

LOOKED_AT = 32  # rows that tell the layout
AT_ONCE = 256  # rows completed together by a task
T = TypeVar("T")

MEND = "Mend these rows."
SKIP = (
    "Mend these rows, or leave them out with data.on_bad_row: skip (each is then written to a "
    "file, with its reason)."
)
OTHERWISE = (
    "They were read as {!r}: mend them, or name another layout with data.format or data.columns."
)


Layouts = Callable[[Rows], Sequence[Layout]]  # what the rows of a source may be


def read(data: Data, kind: type[T], layouts: Layouts) -> Examples[T]:
    """All examples of a kind that `data` asks for.

    Raises:
        DataError: a source cannot be found, read or understood; a row cannot be used and
            `on_bad_row` is fail; no row can be used.
    """
    refused = Refusals()
    seed = data.seed if data.seed is not None else Recipe.seed
    if data.mix:
        parts = [_source(part, kind, layouts, refused, part.rows) for part in data.mix]
        _refuse(refused, data)
        parts = [
            _dressed(found, part, f"{seed}/{at}")
            for at, (found, part) in enumerate(zip(parts, data.mix, strict=True))
        ]
        found = mixture.mix(parts, data, [describe(part) for part in data.mix], seed)
    else:
        found = _source(data, kind, layouts, refused, None if data.shuffle else data.rows)
        _refuse(refused, data)
        found = _dressed(found, data, str(seed))
    if data.shuffle:
        order = list(range(len(found)))
        random.Random(seed).shuffle(order)
        found = found.select(order[: data.rows])
    return found


def _dressed(found: Examples[T], rows: Rows, seed: str) -> Examples[T]:
    if found.kind is Conversation:
        return dress(found, rows, seed)  # type: ignore[arg-type,return-value]
    if rows.few_shot:
        raise DataError(
            "exemplars go before conversations alone",
            where=describe(rows),
            remedy="Leave few_shot out here.",
        )
    return found


def _refuse(refused: Refusals, data: Data) -> None:
    if refused.count and data.on_bad_row == "fail":
        raise refused.error(describe(data), SKIP)


def _source(
    rows: Rows,
    kind: type[T],
    layouts: Layouts,
    refused: Refusals,
    limit: int | None,
) -> Examples[T]:
    raws = stream(rows)
    head, first = _head(raws)
    if not head:
        raise DataError("there are no rows", where=describe(rows), remedy="Give a file with rows.")
    if not first:
        for raw in head:
            _note(raw.origin, raw.row, str(getattr(raw.row, "reason", "")), refused)
            refused.read += 1
        raise refused.error(describe(rows), MEND)
    reading = recognise(first, rows, kind, layouts(rows))
    shelf = Shelf()
    dataset = shelf.fill(_understood(chain(head, raws), reading, refused, limit))
    if len(dataset) == 0:
        raise refused.error(describe(rows), OTHERWISE.format(reading.layout.name))
    return Examples(dataset, kind, reading.said, reading.layout.name, refused, (shelf,))


def _head(raws: Iterator[Raw]) -> tuple[list[Raw], list[Row]]:
    """Rows up to the last of those that tell the layout; and these."""
    head: list[Raw] = []
    first: list[Row] = []
    for raw in raws:
        head.append(raw)
        if not isinstance(raw.row, Broken):
            first.append(raw.row)
        if len(first) == LOOKED_AT:
            break
    return head, first


def _understood(
    raws: Iterable[Raw], reading: Reading, refused: Refusals, limit: int | None
) -> Iterator[tuple[str, str, int]]:
    """(example, file, line) of each example that the rows give, up to `limit`."""
    used = 0
    for raw, row in _prepared(raws, reading.layout):
        if limit is not None and used == limit:
            return
        refused.read += 1
        try:
            if isinstance(row, str):
                raise BadRow(row)
            made = [encode(example) for example in reading.convert(reading.layout.read(row))]
        except BadRow as error:
            _note(raw.origin, raw.row, str(error), refused)
            continue
        for text in made[: None if limit is None else limit - used]:
            used += 1
            yield text, raw.origin.file, raw.origin.line


def _prepared(raws: Iterable[Raw], layout: Layout) -> Iterator[tuple[Raw, Row | str]]:
    """Each row as its layout wants it, or what is wrong with it."""
    remaining = iter(raws)
    while batch := list(islice(remaining, AT_ONCE if layout.prepare else 1)):
        whole = [raw.row for raw in batch if not isinstance(raw.row, Broken)]
        made: Iterator[Any] = iter(layout.prepare(whole) if layout.prepare else whole)
        for raw in batch:
            yield raw, raw.row.reason if isinstance(raw.row, Broken) else next(made)


def _note(origin: Origin, row: Row | Broken, reason: str, refused: Refusals) -> None:
    refused.add(origin, reason, row.text if isinstance(row, Broken) else row)
