"""Whether weights are there and whole, told from the headers of their files.

Loading would find out too, but only inside the first stage and in words of its own.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError

INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
ADAPTER = "adapter_model.safetensors"
LARGEST_HEADER = 100_000_000  # the format's own bound


def read_header(file: Path) -> tuple[dict[str, Any], int]:
    """What a safetensors file says of its tensors, and how many bytes it must have.

    Raises:
        ValueError: it is no safetensors file, or ends within its header.
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        start = stream.read(8)
        if len(start) < 8:
            raise ValueError("it ends within its header")
        (length,) = struct.unpack("<Q", start)
        if length > LARGEST_HEADER:
            raise ValueError("it is no safetensors file")
        text = stream.read(length)
    if len(text) < length:
        raise ValueError("it ends within its header")
    header = json.loads(text)
    header.pop("__metadata__", None)
    return header, 8 + length + max(
        (each["data_offsets"][1] for each in header.values()), default=0
    )


def check_weights(folder: Path, where: str) -> None:
    """Refuse a base whose weights are missing or cut short.

    Raises:
        FinetuneError: which file it is.
    """
    _read_json(folder / "config.json", where, "base")
    check_files(_files(folder, where), where)


def check_files(files: Iterable[Path], where: str) -> None:
    """Refuse files of a base's weights that are missing or cut short.

    Raises:
        FinetuneError: which file it is.
    """
    for file in files:
        _check_whole(file, where, "base")


def check_adapter(folder: Path, where: str) -> None:
    """Refuse an adapter whose weights are missing, cut short, or a pickle.

    Raises:
        FinetuneError: which file it is.
    """
    _read_json(folder / "adapter_config.json", where, "adapter")
    file = folder / ADAPTER
    if not file.is_file() and file.with_suffix(".bin").is_file():
        raise FinetuneError(
            f"this adapter is a pickle ({ADAPTER.replace('.safetensors', '.bin')}), which can run "
            "code",
            where=where,
            remedy="Load it once where you trust it and call save_pretrained: that writes "
            f"{ADAPTER}.",
        )
    _check_whole(file, where, "adapter")


def _check_whole(file: Path, where: str, what: str) -> None:
    if fault := _fault(file):
        raise FinetuneError(
            f"{file.name} {fault}",
            where=where,
            remedy=f"Copy or download the {what} again: this file is not whole.",
        )


def _files(folder: Path, where: str) -> list[Path]:
    index = folder / INDEX
    if index.is_file():
        names = _read_json(index, where, "base").get("weight_map", {}).values()
        return [folder / name for name in sorted(set(names))]
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    pickled = any(folder.glob("pytorch_model*.bin"))
    raise FinetuneError(
        f"this folder holds no weights as safetensors (no {WHOLE})",
        where=where,
        remedy="Its .bin files are pickles, which can run code: load them once where you trust "
        "them and call save_pretrained."
        if pickled
        else "Give the folder that `save_pretrained` wrote, weights included, or a hub id.",
    )


def _read_json(file: Path, where: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise FinetuneError(
            f"{file.name} cannot be read: {error}",
            where=where,
            remedy=f"Copy or download the {what} again.",
        ) from error
    return found if isinstance(found, dict) else {}


def _fault(file: Path) -> str:
    try:
        wanted = read_header(file)[1]
    except FileNotFoundError:
        return "is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"cannot be read: {error}"
    has = file.stat().st_size
    return f"has {has:,} of its {wanted:,} bytes" if has < wanted else ""
