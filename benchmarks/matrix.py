"""Which bases pass through which stages: every shape in every number format, run and measured.

    python benchmarks/matrix.py --write docs/results/shapes.md
    python benchmarks/matrix.py --only mpt,gpt2 --formats nf4

The shapes are small and random (tests/shapes.py); each goes through sft, dpo, both merges and
export, two training steps a stage. Where FINETUNE_REALDATA names a folder that holds
`stories260k`, that pretrained model is one more row. What is written is what was found.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from shapes import FORMATS, SHAPES, make_base
from small_stages import dpo, logits, run, sft, write_rows

from finetune.errors import FinetuneError
from finetune.job import ModelRef, Past
from finetune.recipe.tuning_check import UNPACKED
from finetune.recipe.types import MERGED, Base, Export, Merge, Sft, ways

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"lora": {"r": 4}},
    "rslora": {"lora": {"r": 4, "use_rslora": True}},
    "dora": {"lora": {"r": 4, "use_dora": True}},
    **{
        name: {"lora": {"r": 4, "init_lora_weights": name}}
        for name in ("pissa", "olora", "eva", "corda", "loftq", "lora_ga")
    },
    **{
        name: {"lora": None, "peft": {"method": name}}
        for name in ("ia3", "vera", "oft", "boft", "loha", "lokr", "adalora", "hra")
    },
    "fourierft": {"lora": None, "peft": {"method": "fourierft", "n_frequency": 100}},
}


@dataclass(frozen=True)
class Row:
    """One line of a table: cells in the order of its head."""

    name: str
    fmt: str
    cells: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="shapes or methods, with commas between")
    parser.add_argument("--formats", default="", help="number formats, with commas between")
    parser.add_argument("--write", metavar="FILE", help="write the tables there")
    parsed = parser.parse_args()
    from finetune.stages.quiet import hush

    hush()
    only = set(filter(None, parsed.only.split(",")))
    formats = [each for each in FORMATS if not parsed.formats or each in parsed.formats.split(",")]
    with TemporaryDirectory() as folder:
        text = document(Path(folder), only, formats)
    sys.stdout.write(text)
    if parsed.write:
        Path(parsed.write).write_text(text, encoding="utf-8")


def document(folder: Path, only: set[str], formats: list[str]) -> str:
    """Both tables as Markdown."""
    rows = write_rows(folder)
    bases = {kind: make_base(kind, folder / kind) for kind in SHAPES if not only or kind in only}
    stories = Path(os.environ.get("FINETUNE_REALDATA", "")) / "stories260k"
    if stories.is_dir() and (not only or "stories260k" in only):
        bases["stories260k"] = stories
    shapes = [shape_row(kind, fmt, path, rows) for kind, path in bases.items() for fmt in formats]
    mistral = bases.get("mistral") or make_base("mistral", folder / "mistral")
    methods = [
        method_row(name, fmt, mistral, rows)
        for name in METHODS
        if not only or name in only
        for fmt in ("fp32", "nf4")
        if fmt in formats
    ]
    return "\n".join([*_head(), *_shapes(shapes), *_methods(methods)]) + "\n"


def shape_row(kind: str, fmt: str, path: Path, rows: Path) -> Row:
    """A base through all stages."""
    base = ModelRef(base=Base(model=str(path), **FORMATS[fmt]))
    out = rows / f"{kind}-{fmt}"
    cells: list[str] = []
    sys.stderr.write(f"{kind} {fmt}\n")
    try:
        learnt = run(sft(rows), base, out / "sft")
        cells.append("passed")
        preferred = run(dpo(rows), learnt.model, out / "dpo")
        cells.append(f"passed, loss {preferred.facts['step_0_loss']:.6f} at step 0")
        gaps = {}
        for way in ways("quantization" in FORMATS[fmt]):
            onto: Any = "dequantized" if way == MERGED else way
            merge = Merge(name="merge", onto=onto, tolerance=None)
            merged = run(merge, preferred.model, out / way)
            gaps[way] = merged.facts[f"{way}_max_logit"]
        cells.append(_gaps(gaps))
        stage = Export(name="export", formats=("safetensors", "adapter"), prompts=4)
        past = (Past(stage=sft(rows), model=learnt.model, facts=learnt.facts),
                Past(stage=dpo(rows), model=preferred.model, facts=preferred.facts))  # fmt: skip
        left = run(stage, merged.model, out / "export", past=past, models={"base": base})
        cells.append(f"passed, equal answers: {left.facts['equal_answers']}")
    except Exception as error:
        cells.append(_failed(error))
    return Row(kind, fmt, (*cells, *["–"] * (4 - len(cells))))


def method_row(name: str, fmt: str, path: Path, rows: Path) -> Row:
    """A way to adapt, on the Mistral shape: its start, what plain PEFT reads, its merge."""
    from peft import PeftModel

    from finetune.models.load import open_base, open_model

    base = ModelRef(base=Base(model=str(path), **FORMATS[fmt]))
    out = rows / f"{name}-{fmt}"
    cells: list[str] = []
    sys.stderr.write(f"{name} {fmt}\n")
    try:
        if name in UNPACKED and fmt == "nf4":
            return Row(name, fmt, ("refused: its shape is that of unpacked weights", "–", "–"))
        stage: Sft = sft(rows, **METHODS[name])
        start = run(replace(stage, train={**stage.train, "learning_rate": 1e-30}), base, out / "0")
        untouched = logits(open_base(base.base))
        cells.append(f"{float((logits(open_model(start.model)) - untouched).abs().max()):.1e}")
        learnt = run(stage, base, out / "sft")
        ours = logits(open_model(learnt.model))
        plain = PeftModel.from_pretrained(open_base(learnt.model.base), learnt.model.adapter)
        theirs = logits(plain.eval())
        gap = float((ours - theirs).abs().max())
        cells.append("the same" if gap == 0 else f"{gap:.1e} apart")
        way = "dequantized" if "quantization" in FORMATS[fmt] else MERGED
        done = run(Merge(name="merge", tolerance=None), learnt.model, out / "merge")
        cells.append(f"{done.facts[f'{way}_max_logit']:.1e}")
    except Exception as error:
        cells.append(_failed(error))
    return Row(name, fmt, (*cells, *["–"] * (3 - len(cells))))


def _gaps(gaps: dict[str, float]) -> str:
    nearer = f"; nearer: {min(gaps, key=gaps.__getitem__)}" if len(gaps) > 1 else ""
    return ", ".join(f"{way} {gap:.1e}" for way, gap in gaps.items()) + nearer


def _failed(error: Exception) -> str:
    if isinstance(error, FinetuneError):
        return f"refused: {' '.join(error.what.split())}".replace("|", "/")
    with redirect_stderr(StringIO()) as told:
        traceback.print_exception(error)
    sys.stderr.write(told.getvalue())
    return f"**failed**: {type(error).__name__}"


def _head() -> Iterator[str]:
    yield "# Shapes, number formats and methods"
    yield ""
    yield "Written by `python benchmarks/matrix.py --write docs/results/shapes.md`; nothing here is"
    yield "written by hand. Models are small and random, two steps a stage, on a CPU."


def _shapes(rows: list[Row]) -> Iterator[str]:
    yield ""
    yield "## Through the chain"
    yield ""
    yield "Merge: largest difference of logits between adapter on its base and merged model."
    yield "Export: of the last merge; its files, and the adapter on its base, against the merged"
    yield "model in memory, of which random weights are the hardest case: all tokens nearly tie."
    yield ""
    yield "| shape | format | sft | dpo | merge | export |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        yield f"| {row.name} | {row.fmt} | {' | '.join(row.cells)} |"


def _methods(rows: list[Row]) -> Iterator[str]:
    yield ""
    yield "## Ways to adapt, on the Mistral shape"
    yield ""
    yield "Start: largest difference of logits from the base before any step. Plain PEFT: the saved"
    yield "adapter opened by `PeftModel.from_pretrained` against ours."
    yield ""
    yield "| method | format | start | plain PEFT | merge |"
    yield "|---|---|---|---|---|"
    for row in rows:
        yield f"| {row.name} | {row.fmt} | {' | '.join(row.cells)} |"


if __name__ == "__main__":
    main()
