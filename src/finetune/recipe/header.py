"""The two lines that make a recipe a Python program too, checked so that they do.

To Python everything from the first `r'''` to the last line is one text, and the last line runs
the recipe; to YAML the one is a key and the other a comment.
"""

from __future__ import annotations

from finetune.recipe.problems import Problems
from finetune.recipe.tree import Block, Place

OPENING = "r'''"
CLOSING = "#'''; from finetune import run; run(__file__)"


def without_header(block: Block, text: str, source: str, problems: Problems) -> Block:
    """The recipe lacking `launch`; noted is what would keep Python from running the file."""
    entry = block.entries.get("launch")
    if entry is None:
        return block
    written = getattr(entry.node, "text", "")
    if written != OPENING:
        problems.add(entry.place, f"takes only {OPENING}, which lets `accelerate launch` run "
                     f"the file; got {written!r}", "launch")  # fmt: skip
        return block.without("launch")
    lines = text.splitlines()
    first = entry.place.line
    _first(lines, first, source, problems)
    last = max(number for number, line in enumerate(lines, start=1) if line.strip())
    if lines[last - 1].strip() != CLOSING:
        problems.add(Place(source, last), f"after `launch: {OPENING}` the last line must be "
                     f"{CLOSING}")  # fmt: skip
        last += 1
    for number in range(first, last):
        line = lines[number - 1]
        rest = line.partition(OPENING)[2] if number == first else line
        if "'''" in rest:
            problems.add(Place(source, number), "''' ends the text that `launch` opens for "
                         "Python; write it in another way")  # fmt: skip
    return block.without("launch")


def _first(lines: list[str], number: int, source: str, problems: Problems) -> None:
    if any(line.strip() and not line.startswith("#") for line in lines[: number - 1]):
        problems.add(Place(source, number), "must be the first key, or Python reads the lines "
                     "above it", "launch")  # fmt: skip
