"""Reading what stages leave beside their records; a report does without what cannot be read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Reader:
    """Reads files of one run and remembers those that were there and could not be read."""

    folder: Path
    faults: list[str] = field(default_factory=list)

    def lines(self, file: Path) -> list[dict[str, Any]]:
        """Objects of a JSON Lines file; none when it is absent or damaged."""
        found = self._read(file, lambda text: [json.loads(line) for line in text.splitlines()])
        return [each for each in found or [] if isinstance(each, dict)]

    def table(self, file: Path) -> dict[str, Any]:
        """One JSON object; empty when it is absent or damaged."""
        found = self._read(file, json.loads)
        return found if isinstance(found, dict) else {}

    def _read(self, file: Path, parse: Any) -> Any:
        try:
            return parse(file.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            name = file.relative_to(self.folder) if file.is_relative_to(self.folder) else file
            fault = f"{name} could not be read and is left out: {error}"
            if fault not in self.faults:
                self.faults.append(fault)
            return None
