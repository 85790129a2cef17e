"""Names as others may read them: of the hub whole, of this machine without where they lie."""

from __future__ import annotations

import re
from pathlib import Path

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_id(name: str | None) -> bool:
    """Whether a base or data set is named as on the hub, and is no file or folder here."""
    return bool(name and HUB_ID.fullmatch(name) and not Path(name).expanduser().exists())


def shown(name: str) -> str:
    """A name of the hub as it is, a local path by its last part."""
    return name if is_hub_id(name) else Path(name).name


def named(text: str) -> str:
    """A text of a recipe; a path that tells where things lie on this machine by its last part."""
    whole = text.startswith(("/", "~/")) and "\n" not in text
    parts = Path(text).expanduser().parts if whole else ()
    return parts[-1] if len(parts) > 2 and Path(*parts[:2]).is_dir() else text
