"""The table of shapes in the docs holds every shape in every format, and no failure."""

import re
import sys
from pathlib import Path

from shapes import FORMATS, SHAPES

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))


def rows():
    text = (ROOT / "docs/results/shapes.md").read_text(encoding="utf-8")
    return re.findall(r"^\| (\w+) \| (\w+) \| (.*) \|$", text, flags=re.MULTILINE)


def test_the_documented_rows_are_those_of_the_matrix():
    import matrix

    found = [row[:2] for row in rows() if row[0] not in {"shape", "method"}]
    bases = [*SHAPES, "stories260k"]
    wanted = [(kind, fmt) for kind in bases for fmt in FORMATS]
    wanted += [(name, fmt) for name in matrix.METHODS for fmt in ("fp32", "nf4")]
    assert found == wanted


def test_nothing_documented_has_failed():
    assert not [row for row in rows() if "failed" in row[2]]
