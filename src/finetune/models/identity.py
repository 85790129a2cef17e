"""Which base an adapter was trained on: written beside it, compared when it is put on one again.

Two bases of one shape take each other's adapters without a word, and answer nonsense.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError
from finetune.job import ModelRef
from finetune.models.tokenizers import weights_folder
from finetune.recipe.types import Base

NAME = "base.json"
EDGE = 1 << 16  # bytes looked at from either end of a file: the header's names and shapes, weights


def write_identity(base: Base, adapter: Path) -> None:
    """Leave beside a saved adapter what its base was."""
    (adapter / NAME).write_text(json.dumps(identity(base), indent=1), encoding="utf-8")


def identity(base: Base) -> dict[str, Any]:
    """Name, commit (of a hub id) and a digest of the weights' files, in no time for any size.

    The digest is None where the weights of a hub id have not been fetched yet.
    """
    folder = weights_folder(base)
    files = sorted(folder.glob("*.safetensors"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {file.stat().st_size}".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(EDGE))
            stream.seek(max(0, file.stat().st_size - EDGE))
            digest.update(stream.read(EDGE))
    commit = folder.name if folder.parent.name == "snapshots" else None
    return {"model": base.model, "commit": commit, "weights": digest.hexdigest() if files else None}


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
    """One commit is one base; without commits, or under two, the weights tell."""
    if wanted["commit"] and wanted["commit"] == has["commit"]:
        return True
    known = has["weights"] is not None or bool(wanted["commit"] and has["commit"])
    return wanted["weights"] == has["weights"] or not known


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
