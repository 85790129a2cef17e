"""A list of what the files of an exported model hold, in the form that `sha256sum -c` reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

NAME = "SHA256SUMS"
CARD = "README.md"  # people write in it


def sha256(file: Path) -> str:
    """Hash of the file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_sums(folder: Path) -> None:
    """List every file below `folder` but the card."""
    files = [each for each in sorted(folder.rglob("*")) if each.is_file()]
    names = [each.relative_to(folder).as_posix() for each in files]
    lines = [
        f"{sha256(file)}  {name}\n"
        for file, name in zip(files, names, strict=True)
        if name not in (NAME, CARD)
    ]
    (folder / NAME).write_text("".join(lines), encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str]:
    """Hashes by path below `folder`, as its list has them; empty without one."""
    try:
        lines = (folder / NAME).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    parted = (line.partition("  ") for line in lines)
    return {name: digest for digest, space, name in parted if space}
