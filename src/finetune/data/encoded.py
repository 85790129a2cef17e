"""Token ids of all rows on disk, mapped into memory: a million of them weigh no more than a few."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from finetune.data.chat import Chat
from finetune.data.examples import Conversation
from finetune.data.tokens import Encoded, encoded
from finetune.recipe.types import Mask

if TYPE_CHECKING:
    import datasets

COUNTS = ("length", "learnt", "shortened", "cut", "unstopped", "apart", "lookalikes")
BATCH_TOKENS = 1_000_000


@dataclass(frozen=True)
class RowReader:
    """A stage's rows, for what looks at a few of them: how many there are, and any one of them."""

    count: int
    read: Callable[[int], Encoded]


def encode_rows(
    tokenizer: Any,
    talks: Sequence[Conversation],
    max_length: int | None,
    *,
    mask: Mask,
    file: Path,
    title: str = "tokens",
    skipped: Callable[[int, str], None] | None = None,
) -> datasets.Dataset:
    """Every conversation as `finetune.data.tokens.encode` gives it, written to `file` (Arrow).

    Columns: `input_ids` and `labels`; `length` in tokens; and as in `Encoded`: `learnt`,
    `shortened`, `cut`, `unstopped`, `apart`, `lookalikes`.

    With `skipped` (see `encoded`) rows that the template refuses are left out.

    Raises:
        DataError: the template refuses rows, or what belongs to an answer cannot be told.
    """
    import datasets
    import pyarrow

    kinds = {"shortened": pyarrow.bool_()}
    whole = [(name, kinds.get(name, pyarrow.int32())) for name in COUNTS]
    lists = [(name, pyarrow.list_(pyarrow.int32())) for name in ("input_ids", "labels")]
    schema = pyarrow.schema([*lists, *whole])
    rows = encoded(Chat(tokenizer), talks, max_length, mask, skipped)
    bar = tqdm(rows, total=len(talks), desc=title, unit="row", disable=None, leave=False)
    with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as stream:
        for batch in _batches(bar):
            stream.write_batch(_table(batch, schema))
    return datasets.Dataset.from_file(str(file))


def row_at(rows: datasets.Dataset, index: int) -> Encoded:
    """One row of `encode_rows` as `encode` would give it."""
    row = rows[index]
    return Encoded(**{field.name: row[field.name] for field in fields(Encoded)})


def _batches(rows: Iterable[Encoded]) -> Iterator[list[Encoded]]:
    batch: list[Encoded] = []
    tokens = 0
    for row in rows:
        batch.append(row)
        tokens += len(row.input_ids)
        if tokens >= BATCH_TOKENS:
            yield batch
            batch, tokens = [], 0
    if batch:
        yield batch


def _table(batch: list[Encoded], schema: Any) -> Any:
    import pyarrow

    columns = {
        "input_ids": _lists([row.input_ids for row in batch]),
        "labels": _lists([row.labels for row in batch]),
        "length": [len(row.input_ids) for row in batch],
        **{name: [getattr(row, name) for row in batch] for name in COUNTS[1:]},
    }
    return pyarrow.record_batch([columns[name] for name in schema.names], schema=schema)


def _lists(rows: list[list[int]]) -> Any:
    """An Arrow array of lists; from one flat array, in half the time."""
    import numpy
    import pyarrow

    flat, ends = array("i"), array("i", [0])
    for row in rows:
        flat.fromlist(row)
        ends.append(len(flat))
    places, values = (numpy.frombuffer(each, dtype=numpy.int32) for each in (ends, flat))
    return pyarrow.ListArray.from_arrays(pyarrow.array(places), pyarrow.array(values))
