"""Texts as arrays of hashed word n-grams, for comparing many of them."""

from __future__ import annotations

import re
import zlib
from typing import Any

import numpy

WORD = re.compile(r"\w+")
FACTOR = numpy.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying loses nothing


def ngrams(text: str, size: int) -> Any:
    """Hashes (uint64, sorted, each once) of all runs of `size` words, case and signs aside.

    A shorter text is one run of all its words.
    """
    words = WORD.findall(text.lower())
    hashes = numpy.array([zlib.crc32(word.encode()) for word in words], dtype=numpy.uint64)
    size = max(1, min(size, len(hashes)))
    runs = numpy.zeros(max(0, len(hashes) - size + 1), dtype=numpy.uint64)
    with numpy.errstate(over="ignore"):
        for offset in range(size if len(hashes) else 0):
            runs = runs * FACTOR + hashes[offset : offset + len(runs)]
    return numpy.unique(runs)


def plain(text: str) -> str:
    """The words alone, by which two texts count as the same."""
    return " ".join(WORD.findall(text.lower()))
