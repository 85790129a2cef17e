"""Which base an adapter was trained on: written beside it, compared when it is put on one again.

Two bases of one shape take each other's adapters without a word, and answer nonsense.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError
from finetune.job import ModelRef
from finetune.models.tokenizers import weights_folder
from finetune.recipe.types import Base

NAME = "base.json"
# Looked at of a file, evenly spread from its first byte to its last: a merge may have changed no
# more than one matrix of a layer.
BLOCKS, BLOCK_BYTES = 256, 4096


def write_identity(base: Base, adapter: Path) -> None:
    """Leave beside a saved adapter what its base was."""
    (adapter / NAME).write_text(json.dumps(identity(base), indent=1), encoding="utf-8")


def identity(base: Base) -> dict[str, Any]:
    """Name, commit (of a hub id) and a digest of samples of the weights, in no time for any size.

    The digest is None where the weights of a hub id have not been fetched yet.
    """
    folder = weights_folder(base)
    files = sorted(folder.glob("*.safetensors"))
    found = hashlib.sha256()
    for file in files:
        for part in _samples(file):
            found.update(part)
    commit = folder.name if folder.parent.name == "snapshots" else None
    return {"model": base.model, "commit": commit, "samples": found.hexdigest() if files else None}


def _samples(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    yield f"{file.name} {size}".encode()
    with file.open("rb") as stream:
        for number in range(BLOCKS):
            stream.seek(max(0, size - BLOCK_BYTES) * number // (BLOCKS - 1))
            yield stream.read(BLOCK_BYTES)


def digest(files: Iterable[Path]) -> str:
    """Of names and all content: what two models of one run may differ in lies anywhere in them."""
    found = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as stream:
            found.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return found.hexdigest()


def check_identity(ref: ModelRef) -> None:
    """Refuse a base that is not the one an adapter on it was trained on, where that is known.

    Raises:
        FinetuneError: it is another one, or another revision.
    """
    has: dict[str, Any] = {}
    for adapter in ref.adapters:
        if not (adapter / NAME).is_file():
            continue  # made elsewhere: only its shapes can tell
        wanted = json.loads((adapter / NAME).read_text("utf-8"))
        has = has or identity(ref.base)
        if not _same(wanted, has):
            raise _other_base(adapter, wanted, has)


def _same(wanted: dict[str, Any], has: dict[str, Any]) -> bool:
    """One commit is one base; else the weights tell, and where they are not known, the commits."""
    commits = wanted["commit"] and has["commit"]
    if commits and wanted["commit"] == has["commit"]:
        return True
    if wanted.get("samples") and has["samples"]:
        return bool(wanted["samples"] == has["samples"])
    return not commits


def _other_base(adapter: Path, wanted: dict[str, Any], has: dict[str, Any]) -> FinetuneError:
    if wanted["commit"] and has["commit"] and wanted["model"] == has["model"]:
        return FinetuneError(
            f"{wanted['model']} has moved: the adapter was trained on revision "
            f"{wanted['commit']}, and the base is at {has['commit']} now",
            where=str(adapter),
            remedy=f"Set base.revision: {wanted['commit']}, or train again.",
        )
    return FinetuneError(
        f"this adapter was trained on other weights than those of {has['model']}",
        where=str(adapter),
        remedy=f"Give the base it was trained on: {wanted['model']}.",
    )
