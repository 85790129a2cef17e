"""A finished evaluation scored anew, its record kept true."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from finetune.chain.lock import lock
from finetune.chain.record import Record, list_files
from finetune.scoring.score import means, score


def rescore(record: Record) -> dict[str, Any]:
    """Write all that follows from an evaluation's predictions; its comparison.

    Raises:
        FinetuneError: they are missing, or their rows have changed.
        StoreError: another run works in the folder.
    """
    with lock(record.folder.parent):
        found = score(record.folder)
        files = list_files(record.folder)
        replace(record, scores=means(found), files=files).write(record.folder)
    return found
