"""Plain texts as blocks of token ids on disk, mapped into memory whatever their size."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from finetune.data.encoder import ahead, batches, encoder
from finetune.data.examples import Text

if TYPE_CHECKING:
    import datasets

NAMES = ("input_ids", "labels")


def encode_blocks(
    tokenizer: Any, texts: Sequence[Text], block: int, *, file: Path, title: str = "tokens"
) -> datasets.Dataset:
    """The texts one after another, the end token after each, cut every `block` tokens.

    Columns `input_ids` and `labels`, the same `block` tokens in both, written to `file` (Arrow).
    Tokens that do not fill the last block are left out. No special tokens are added but the end.
    """
    import datasets
    import pyarrow

    schema = pyarrow.schema([(name, pyarrow.list_(pyarrow.int32())) for name in NAMES])
    bar = tqdm(texts, total=len(texts), desc=title, unit="text", disable=None, leave=False)
    with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as stream:
        for ids in _cut(_ids(tokenizer, bar), block):
            stream.write_batch(_table(ids, block, schema))
    return datasets.Dataset.from_file(str(file))


def _ids(tokenizer: Any, texts: Iterable[Text]) -> Iterator[array[int]]:
    """Token ids of many texts at a time."""
    fast, end = encoder(tokenizer), tokenizer.eos_token_id

    def work(batch: list[Text]) -> array[int]:
        flat = array("i")
        texts = [each.text for each in batch]
        for encoding in fast.encode_batch_fast(texts, add_special_tokens=False):
            flat.fromlist(encoding.ids)
            flat.append(end)
        return flat

    return (ids for _, ids in ahead(work, batches(texts, lambda each: each.text)))


def _cut(parts: Iterable[array[int]], block: int) -> Iterator[array[int]]:
    """The same ids in parts that are a whole number of blocks; a rest is left out."""
    rest = array("i")
    for part in parts:
        rest.extend(part)
        whole = len(rest) // block * block
        if whole:
            yield rest[:whole]
            rest = rest[whole:]


def _table(ids: array[int], block: int, schema: Any) -> Any:
    import numpy
    import pyarrow

    values = pyarrow.array(numpy.frombuffer(ids, dtype=numpy.int32))
    ends = pyarrow.array(numpy.arange(0, len(ids) + 1, block, dtype=numpy.int32))
    lists = pyarrow.ListArray.from_arrays(ends, values)
    return pyarrow.record_batch([lists] * len(NAMES), schema=schema)
