"""Where rows come from, found without reading them: files on disk, or a hub id."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from finetune.embedded import sample_files, sample_splits
from finetune.errors import DataError
from finetune.recipe.types import Rows

# Extension (compression aside) -> how files of it are read. Text has lines, the others have rows.
TEXT_KINDS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".txt": "text"}
KINDS = {**TEXT_KINDS, ".parquet": "parquet", ".arrow": "arrow"}
MARKS = "*?["  # of a pattern
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
TRAIN = "train"
# Names of files by which a folder is known to hold splits, with what publishers add (`test_sft`).
SPLIT = re.compile(r"(train(ing)?|valid(ation)?|val|dev|test|eval)(_|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """Local `files` of one kind, or a `hub` id; `beside` are files that belong to them."""

    files: tuple[Path, ...] = ()
    kind: str = ""
    hub: str | None = None
    revision: str | None = None
    beside: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return self.hub or ", ".join(str(file) for file in self.files)


def locate(rows: Rows) -> Source:
    """Find the rows that `rows` speaks of.

    Raises:
        DataError: nothing is there, the split does not exist, or the kind of file is unknown.
    """
    if rows.path is None:
        return _embedded(rows)
    path = Path(rows.path).expanduser()
    if path.exists():
        return _local(_files_in(path, rows.split), rows)
    if any(mark in rows.path for mark in MARKS):
        files = _matching(path)  # all are asked for, unless a split is named too
        return _local(files if rows.split == TRAIN else _of_split(files, path, rows.split), rows)
    if _looks_like_hub_id(rows.path):
        return Source(hub=rows.path, revision=rows.revision)
    raise DataError(
        "no such file or folder",
        where=rows.path,
        remedy=f"Relative paths start at the current folder, {Path.cwd()}.",
    )


def unit(file: str) -> str:
    """What a row of this file is counted in."""
    return "line" if _suffix(Path(file)) in TEXT_KINDS else "row"


def _embedded(rows: Rows) -> Source:
    name = rows.sample or rows.task
    assert name is not None, "the recipe loader refuses data without a source"
    files = sample_files(name, rows.split)
    if not files:
        raise DataError(
            f"the embedded sample {name!r} has no split {rows.split!r}",
            remedy=f"It has: {', '.join(sample_splits(name))}.",
        )
    return _local(files, rows)


def _local(files: tuple[Path, ...], rows: Rows) -> Source:
    for key in ("streaming", "revision"):
        if getattr(rows, key):
            raise DataError(
                f"`{key}` is of a hub id, and these are files",
                where=str(rows.path),
                remedy=f"Remove `{key}`: files are read row by row, whatever their size."
                if key == "streaming"
                else "Remove `revision`; a file is told from its next version by its content.",
            )
    return Source(files, _kind(files), beside=_databases(rows, files))


def _files_in(path: Path, split: str) -> tuple[Path, ...]:
    """The file itself; of a folder, the files of the split (all, where they have no splits)."""
    if path.is_file():
        return _of_split((path.resolve(),), path, split)
    found = sorted(p.resolve() for p in path.iterdir() if p.is_file() and _suffix(p) in KINDS)
    if not found:
        known = ", ".join(KINDS)
        raise DataError("no data file in this folder", where=str(path), remedy=f"Known: {known}.")
    return _of_split(tuple(found), path, split)


def _of_split(files: tuple[Path, ...], path: Path, split: str) -> tuple[Path, ...]:
    """The files of `split`. One file may be given as it is; nothing held out is read unasked."""
    named = tuple(file for file in files if _split_of(file) == split)
    parted = sorted({name for name in map(_split_of, files) if SPLIT.match(name)})
    if named:
        return named
    if split == TRAIN and (path.is_file() or not parted):
        return files
    if path.is_file():
        raise DataError(
            f"one file has no split {split!r}",
            where=str(path),
            remedy="Remove `split`, or give the folder of the splits' files.",
        )
    raise DataError(
        f"no file here is of the split {split!r}",
        where=str(path),
        remedy=f"Set `split` to one of: {', '.join(parted)}."
        if parted
        else f"Name its file {split}.jsonl or the like, or remove `split`.",
    )


def _split_of(file: Path) -> str:
    """What stands before the first point or hyphen: `train-00000-of-00002.parquet` is train."""
    return file.name.split(".")[0].split("-")[0]


def _matching(pattern: Path) -> tuple[Path, ...]:
    parts = pattern.parts
    fixed = next(at for at, part in enumerate(parts) if any(mark in part for mark in MARKS))
    found = Path(*parts[:fixed]).glob("/".join(parts[fixed:]))
    files = tuple(sorted(file.resolve() for file in found if file.is_file()))
    if not files:
        raise DataError(
            "no file matches",
            where=str(pattern),
            remedy=f"Relative patterns start at the current folder, {Path.cwd()}.",
        )
    return files


def _suffix(file: Path) -> str:
    suffixes = [suffix for suffix in file.suffixes if suffix not in COMPRESSIONS]
    return suffixes[-1].lower() if suffixes else ""


def _kind(files: tuple[Path, ...]) -> str:
    kinds = {_suffix(file) for file in files}
    if len(kinds) > 1 or not kinds <= set(KINDS):
        raise DataError(
            f"cannot tell how to read files of kind {', '.join(sorted(kinds)) or 'none'}",
            where=str(files[0].parent),
            remedy=f"Known kinds, one at a time: {', '.join(KINDS)}.",
        )
    return KINDS[kinds.pop()]


def _databases(rows: Rows, files: tuple[Path, ...]) -> tuple[Path, ...]:
    """Text-to-SQL rows are scored on the databases that lie beside them, as in Spider."""
    if rows.task not in {"text_to_sql", None}:
        return ()  # without a task named, columns may yet tell that it is this one
    return tuple(sorted((files[0].parent / "database").glob("**/*.sqlite")))


def _looks_like_hub_id(path: str) -> bool:
    parts = path.split("/")
    return (
        len(parts) == 2
        and all(parts)
        and not path.startswith((".", "~"))
        and _suffix(Path(path)) not in KINDS
    )
