"""What rows mean once they are understood: five kinds of examples, and a sequence of them on disk.

A message is a dict as chat templates take it: `role`, `content`, and where given `name`,
`tool_calls` (arguments as an object, not as text) and `tool_call_id`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from finetune.data.locate import unit
from finetune.data.refusals import Refusals

if TYPE_CHECKING:
    import datasets

Message = dict[str, Any]
Tools = list[dict[str, Any]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row lies: a line of a text file, or a row of a table, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file} {unit(self.file)} {self.line}"


@dataclass(frozen=True)
class Text:
    """Plain text for next-token training."""

    text: str


@dataclass(frozen=True)
class Conversation:
    """Messages whose assistant turns are learnt; at least one is there.

    `options` are answers to choose from that the last question does not list yet.
    """

    messages: list[Message]
    tools: Tools | None = None
    options: list[str] | None = None


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, the better one first; each is one message of the assistant."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    tools: Tools | None = None


@dataclass(frozen=True)
class Unpaired:
    """An answer (one message) and whether it is a good one."""

    prompt: list[Message]
    completion: list[Message]
    label: bool


@dataclass(frozen=True)
class Prompt:
    """Messages that wait for an answer."""

    messages: list[Message]
    tools: Tools | None = None


class BadRow(ValueError):
    """Why one row cannot be used, as a phrase."""


@dataclass(frozen=True)
class Examples(Sequence[T], Generic[T]):
    """Understood rows: memory-mapped, by index or in order, each with the place it came from.

    `dataset` has the columns `example` (JSON, so that nothing of a nested message is padded or
    retyped), `file` and `line`. `said` tells in one phrase how the rows were read, `layout` is
    its name in a recipe, `refused` are the rows left out.
    """

    dataset: datasets.Dataset
    kind: type[T]
    said: str
    layout: str
    refused: Refusals
    kept_by: tuple[Any, ...] = field(default=(), repr=False)  # what holds the files below

    def __len__(self) -> int:
        return len(self.dataset)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Examples[T]: ...
    def __getitem__(self, index: int | slice) -> T | Examples[T]:
        if isinstance(index, slice):
            return self.select(range(*index.indices(len(self))))
        return self.decode(self.dataset[index]["example"])

    def __iter__(self) -> Iterator[T]:
        for batch in self.dataset.with_format("arrow").iter(batch_size=1000):
            yield from map(self.decode, batch["example"].to_pylist())

    def decode(self, text: str) -> T:
        """The example in a value of the column `example`."""
        return self.kind(**json.loads(text))

    def origin(self, index: int) -> Origin:
        """Where the example at this index came from."""
        row = self.dataset[index]
        return Origin(row["file"], row["line"])

    def select(self, indices: Iterable[int]) -> Examples[T]:
        """The examples at these indices, in this order; nothing is copied."""
        dataset = self.dataset.select(indices)
        return Examples(dataset, self.kind, self.said, self.layout, self.refused, self.kept_by)


def encode(example: Any) -> str:
    """An example as the JSON that `Examples.decode` reads.

    Raises:
        BadRow: it holds half a character, nests without end, or what JSON has no word for.
    """
    values = example if isinstance(example, dict) else vars(example)
    try:
        text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise BadRow(f"holds half a character (the lone surrogate U+{ord(half):04X})") from None
    except RecursionError:
        raise BadRow("is nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise BadRow(f"holds a value that is neither text nor number: {error}") from None
    return text
