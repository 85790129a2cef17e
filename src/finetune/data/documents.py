"""Rows of JSON files: one object a line, or one array of objects over any number of lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from finetune.data.lines import BOM, NOT_UTF8, Broken, as_utf8, numbered, opened
from finetune.errors import DataError

Row = dict[str, Any]
WRAPPERS = ("data", "rows", "examples", "train", "instances")  # {"data": [{…}, …]}


def json_rows(file: Path) -> Iterator[tuple[int, Row | Broken]]:
    """(line, row) of each object in the file; what a line holds instead, where it holds none.

    Whether it has JSON lines is told from its beginning, not its name: both are often wrong.

    Raises:
        DataError: an array breaks off or has a fault; what follows it cannot be told apart.
    """
    return _documents(file) if _is_document(file) else _lines(file)


def _lines(file: Path) -> Iterator[tuple[int, Row | Broken]]:
    for number, line in numbered(file):
        if not line.isspace():
            yield number, _row(line)


def _row(line: bytes) -> Row | Broken:
    try:
        value = _DECODER.decode(line.decode().rstrip())
    except UnicodeDecodeError as error:
        return _broken(line, f"is {NOT_UTF8} at byte {error.start + 1}")
    except RecursionError:
        return _broken(line, "is nested too deeply")
    except json.JSONDecodeError as error:
        return _broken(
            line, f"is not JSON: {error.msg.removesuffix(' at')} at column {error.colno}"
        )
    except ValueError as error:
        return _broken(line, str(error))
    return value if isinstance(value, dict) else _broken(line, _NO_ROW)


_NO_ROW = "is no JSON object with named columns"


def _broken(line: bytes, reason: str) -> Broken:
    return Broken(reason, line.decode(errors="backslashreplace").rstrip("\r\n"))


def _without_doubles(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"has the key {twice!r} twice")
    return row


_DECODER = json.JSONDecoder(object_pairs_hook=_without_doubles)


def _is_document(file: Path) -> bool:
    """Whether the rows spread over lines: the first line is the beginning of something longer."""
    lines = (line.strip() for _, line in numbered(file) if not line.isspace())
    first, second = next(lines, b"{}"), next(lines, None)
    if ".json" in file.suffixes:
        alone = second is None  # one row, or one object that holds them all
        return first.startswith(b"[") or alone or (_is_broken(first) and not _has_rows(file))
    # In JSON lines this is an array only if the line says so; else it is one broken row of many.
    return first.startswith(b"[") and (first.endswith((b"[", b",", b"{")) or _is_list(first))


def _is_broken(line: bytes) -> bool:
    return isinstance(_row(line), Broken)


def _is_list(line: bytes) -> bool:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _has_rows(file: Path) -> bool:
    """Whether any of the first lines is a row by itself, so that the file has one a line."""
    first = (line for (_, line), _ in zip(numbered(file), range(20), strict=False))
    return any(_row(line) and not _is_broken(line) for line in first if not line.isspace())


def _documents(file: Path) -> Iterator[tuple[int, Row | Broken]]:
    text = _text(file)
    for number, value in _values(text, file):
        yield number, value if isinstance(value, dict) else Broken(_NO_ROW, json.dumps(value))


def _text(file: Path) -> str:
    for _ in numbered(file):
        pass  # complains about files that break off, with the line
    with opened(file) as stream:
        raw = stream.read().removeprefix(BOM)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            NOT_UTF8,
            where=f"{file} line {line}",
            remedy=as_utf8(file),
        ) from error


def _values(text: str, file: Path) -> Iterator[tuple[int, Any]]:
    """(line, value) of the elements of an array, or of values one after another."""
    place = _skip(text, 0, "")
    listed = text.startswith("[", place)
    place, line, counted = place + listed, 1, 0
    while (place := _skip(text, place, "," if listed else "")) < len(text):
        line += text.count("\n", counted, place)
        counted = place
        if listed and text[place] == "]":
            if text[place + 1 :].strip():
                raise _fault(file, line, "something follows the end of the array")
            return
        try:
            value, place = _DECODER.raw_decode(text, place)
        except RecursionError:
            raise _fault(file, line, "nested too deeply") from None
        except json.JSONDecodeError as error:
            raise _fault(file, error.lineno, f"not JSON: {error.msg}") from error
        except ValueError as error:
            raise _fault(file, line, str(error)) from error
        yield from _unwrapped(value, line)
    if listed:
        raise _fault(file, text.count("\n") + 1, "the array is not closed")


def _unwrapped(value: Any, line: int) -> Iterable[tuple[int, Any]]:
    """The rows in {"data": [rows]}, all named by the line it begins at; else the value itself."""
    if isinstance(value, dict):
        lists = [name for name in WRAPPERS if isinstance(value.get(name), list)]
        if len(lists) == 1 and len(value[lists[0]]) and isinstance(value[lists[0]][0], dict):
            return ((line, each) for each in value[lists[0]])
    return ((line, value),)


def _skip(text: str, place: int, more: str) -> int:
    while place < len(text) and text[place] in " \t\r\n" + more:
        place += 1
    return place


def _fault(file: Path, line: int, what: str) -> DataError:
    return DataError(
        what,
        where=f"{file} line {line}",
        remedy="Mend the file; as one object a line (JSON lines) a fault costs one row only.",
    )
