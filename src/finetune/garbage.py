"""The garbage collector spared what stays: it needs half a second to go through the libraries."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_spared = False


def spare_for_good() -> None:
    """Have it pass over all that is there now; call it where that is imports and little else.

    Trainers call `gc.collect` at each end.
    """
    global _spared  # noqa: PLW0603  (the collector is the process's own, too)
    _spared = True
    gc.freeze()


@contextmanager
def spared() -> Iterator[None]:
    """Have it pass over all that is there already, for as long as this lasts."""
    if _spared:  # what is alive beside the libraries must not be frozen with them
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
