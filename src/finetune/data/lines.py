"""Lines of a text file, compressed or not, each with its number; nothing is decoded here."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import IO, Any, cast

from finetune.errors import DataError

BOM = codecs.BOM_UTF8
# The longer marks first: UTF-32's begins as UTF-16's does.
OTHER_BOMS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that cannot be read, what is wrong with it, and its own text."""

    reason: str
    text: str


NOT_UTF8 = "not UTF-8"


def as_utf8(file: str | Path, encoding: str = "") -> str:
    """The way out for a file in another encoding; where none is known, that of Windows."""
    new = Path(file).with_name(f"utf8-{Path(file).name}")
    guessed = "" if encoding else ", if it comes from Windows,"
    command = f"iconv -f {encoding or 'CP1252'} -t UTF-8 {quote(str(file))} > {quote(str(new))}"
    return f"Save it as UTF-8{guessed} with {command}"


def numbered(file: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line with its end) of each line; a byte-order mark is taken off.

    Raises:
        DataError: the file may not be read; it is not UTF-8 as a whole, or breaks off, at the
            line where it does.
    """
    number = 0
    try:
        with opened(file) as stream:
            for number, line in enumerate(stream, start=1):
                yield number, _unmarked(line, file) if number == 1 else line
    except PermissionError as error:
        raise DataError(
            "you may not read this file",
            where=str(file),
            remedy=f"Give yourself the right to it (chmod u+r {file.name}), or name another file.",
        ) from error
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(
            f"the file breaks off here or is damaged: {error}",
            where=f"{file} line {number + 1}",
            remedy="Fetch or pack the file again; how many rows are lost cannot be told.",
        ) from error


def opened(file: Path) -> IO[bytes]:
    """The file's bytes, unpacked."""
    if file.suffix == ".zst":
        import pyarrow

        packed = pyarrow.CompressedInputStream(pyarrow.OSFile(str(file)), "zstd")
        return cast("IO[bytes]", _Lines(packed))
    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return cast("IO[bytes]", openers.get(file.suffix, open)(file, "rb"))


class _Lines:
    """Lines of a stream of Arrow's, which has none of its own when it unpacks."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def read(self) -> bytes:
        return self.stream.read()

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        while chunk := self.stream.read(1 << 20):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line + b"\n"
        if rest:
            yield rest


def _unmarked(line: bytes, file: Path) -> bytes:
    for mark, name in OTHER_BOMS.items():
        if line.startswith(mark):
            raise DataError(
                f"this file is {name}, and rows are read as UTF-8",
                where=f"{file} line 1",
                remedy=as_utf8(file, name),
            )
    return line.removeprefix(BOM)
