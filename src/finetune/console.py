"""What a run says to the person who started it: on standard error, by rank 0 alone."""

from __future__ import annotations

import sys

from finetune.ranks import is_main


def say(text: str = "") -> None:
    """Print one message."""
    if is_main():
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def warn(text: str) -> None:
    """Print one message that the user should not miss."""
    say(f"warning: {text}")
