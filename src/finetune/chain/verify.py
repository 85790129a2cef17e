"""Weights that finetune wrote are the bytes that it wrote, or nobody takes them.

What a folder must hold stands in the record of the stage that made it, and for an export, which
leaves its run, in the list that it carries (`SHA256SUMS`). Each file is hashed once, and again
when its size or time has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from finetune.chain import record as records
from finetune.chain.files import shown
from finetune.chain.fingerprint import Fingerprints
from finetune.chain.inputs import PARTS
from finetune.chain.record import DamagedRecordError, Record
from finetune.chain.weights import check_adapter, check_weights
from finetune.embedded import base_folder
from finetune.errors import FinetuneError
from finetune.job import ModelRef
from finetune.sums import NAME, read_sums

ABOVE = 2  # a list may lie so many folders above: export/bnb4 is listed by export, and its record


def check_model(ref: ModelRef, prints: Fingerprints) -> None:
    """Refuse a model of which a file on this machine is missing, torn or another one.

    Raises:
        FinetuneError: which file, and what it should be.
    """
    model = ref.base.model or ""
    base = base_folder(model) or Path(model).expanduser()
    if model and base.is_dir() and not _is_listed(base, prints):
        check_weights(base, shown(base))
    for adapter in ref.adapters:
        if not _is_listed(adapter, prints):
            check_adapter(adapter, shown(adapter))


def _is_listed(folder: Path, prints: Fingerprints) -> bool:
    """Whether it is known what the files of a folder hold, and they hold it.

    Raises:
        FinetuneError: which file does not.
    """
    known = list(_listed(folder.resolve()))
    for file, wanted, remedy in known:
        if not file.is_file():
            raise FinetuneError(f"{file.name} is missing", where=shown(folder), remedy=remedy)
        if (found := prints.of(file)) != wanted:
            raise FinetuneError(
                f"{file.name} is not the file that was written: its sha256 is {found[:12]}…, and "
                f"should be {wanted[:12]}…",
                where=shown(folder),
                remedy=remedy,
            )
    return bool(known)


def _listed(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """A model's files with the hash each should have, and what to do about another one.

    Only of what decides answers: neither a recipe nor a GGUF file that lies beside it.
    """
    around = (folder, *folder.parents[:ABOVE])
    for stage in around:
        if record := _record(stage):
            again = (
                "Put the file back as it was, or delete the stage's folder and run its recipe "
                f"again: {shown(stage)}"
            )
            yield from _within(folder, stage, record.sha256, again)
            return
    for export in around:
        copy = (
            "Copy the folder again from where it was exported; if the change is meant, take the "
            f"file's line out of {shown(export / NAME)}."
        )
        yield from _within(folder, export, read_sums(export), copy)


def _record(folder: Path) -> Record | None:
    try:
        return records.read(folder)
    except DamagedRecordError:
        return None  # a stage that is not done, or a file of another program


def _within(
    folder: Path, above: Path, sums: dict[str, str], remedy: str
) -> Iterator[tuple[Path, str, str]]:
    for name, wanted in sums.items():
        file = above / name
        if file.parent == folder and file.suffix in PARTS:
            yield file, wanted, remedy


def faults(refs: Iterable[ModelRef], prints: Fingerprints) -> list[FinetuneError]:
    """What is wrong with these models, each told once."""
    found: dict[str, FinetuneError] = {}
    for ref in refs:
        try:
            check_model(ref, prints)
        except FinetuneError as error:
            found.setdefault(str(error), error)
    return list(found.values())
