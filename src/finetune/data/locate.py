"""Where rows come from, found without reading them: files on disk, or a hub id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetune.embedded import sample_files, sample_splits
from finetune.errors import DataError
from finetune.recipe.types import Data

# Extension (compression aside) -> the `datasets` builder that reads it.
BUILDERS = {
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
}
COMPRESSIONS = {".gz", ".bz2", ".xz", ".zst"}


@dataclass(frozen=True)
class Source:
    """Local `files` of one kind, or a `hub` id; `beside` are files that belong to them."""

    files: tuple[Path, ...] = ()
    builder: str = ""
    hub: str | None = None
    revision: str | None = None
    beside: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return self.hub or ", ".join(str(file) for file in self.files)


def locate(data: Data) -> Source:
    """Find the rows that `data` speaks of.

    Raises:
        DataError: nothing is there, the split does not exist, or the kind of file is unknown.
    """
    if data.path is None:
        return _embedded(data)
    path = Path(data.path).expanduser()
    if path.exists():
        files = _files_in(path, data.split)
        return Source(files, _builder(files), beside=_databases(data, files))
    if _looks_like_hub_id(data.path):
        return Source(hub=data.path, revision=data.revision)
    raise DataError(
        "no such file or folder",
        where=data.path,
        remedy=f"Relative paths start at the current folder, {Path.cwd()}.",
    )


def _embedded(data: Data) -> Source:
    name = data.sample or data.task
    assert name is not None, "the recipe loader refuses data without a source"
    files = sample_files(name, data.split)
    if not files:
        raise DataError(
            f"the embedded sample {name!r} has no split {data.split!r}",
            remedy=f"It has: {', '.join(sample_splits(name))}.",
        )
    return Source(files, _builder(files), beside=_databases(data, files))


def _files_in(path: Path, split: str) -> tuple[Path, ...]:
    """The file itself; of a folder, the files named after the split, else all it holds."""
    if path.is_file():
        return (path.resolve(),)
    found = sorted(p.resolve() for p in path.iterdir() if p.is_file() and _kind(p) in BUILDERS)
    named = tuple(p for p in found if p.name.split(".")[0].split("-")[0] == split)
    if not found:
        known = ", ".join(BUILDERS)
        raise DataError("no data file in this folder", where=str(path), remedy=f"Known: {known}.")
    return named or tuple(found)


def _kind(file: Path) -> str:
    suffixes = [suffix for suffix in file.suffixes if suffix not in COMPRESSIONS]
    return suffixes[-1] if suffixes else ""


def _builder(files: tuple[Path, ...]) -> str:
    kinds = {_kind(file) for file in files}
    if len(kinds) > 1 or not kinds <= set(BUILDERS):
        raise DataError(
            f"cannot tell how to read files of kind {', '.join(sorted(kinds)) or 'none'}",
            where=str(files[0].parent),
            remedy=f"Known kinds, one at a time: {', '.join(BUILDERS)}.",
        )
    return BUILDERS[kinds.pop()]


def _databases(data: Data, files: tuple[Path, ...]) -> tuple[Path, ...]:
    """Text-to-SQL rows are scored on the databases that lie beside them, as in Spider."""
    if data.task != "text_to_sql":
        return ()
    return tuple(sorted((files[0].parent / "database").glob("**/*.sqlite")))


def _looks_like_hub_id(path: str) -> bool:
    parts = path.split("/")
    return (
        len(parts) == 2 and all(parts) and not path.startswith((".", "~")) and not _kind(Path(path))
    )
