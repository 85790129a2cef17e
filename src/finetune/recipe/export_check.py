"""Whether an export can be made of the model it starts from, and reads all that is asked of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from finetune.recipe.read import Reading
from finetune.recipe.types import Export

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
DEFAULT = Export(name="")


def check_export(
    stage: Export, adapter: str | None, merged: bool, quantized: bool, reading: Reading
) -> None:
    """Note what cannot be exported; `adapter` is the stage whose adapter is not merged yet."""
    for field, message in (*_settings(stage), *_model(stage, adapter, merged, quantized)):
        reading.refuse_at(f"{stage.name}.{field}", message)


def _settings(stage: Export) -> Iterator[tuple[str, str]]:
    formats = stage.formats or ()
    for field, values in (("formats", formats), ("gguf", stage.gguf or ())):
        if not values:
            yield field, "name one or more"
        if len(set(values)) < len(values):
            yield field, "one of them stands there twice"
    if "gguf" not in formats and stage.gguf != DEFAULT.gguf:
        yield "gguf", "is read only with `gguf` among the formats"
    if "ollama" in formats and "gguf" not in formats:
        yield "formats", "`ollama` describes a GGUF file: add `gguf`"
    if stage.push is None and stage.private != DEFAULT.private:
        yield "private", "is read only with `push`"
    if stage.push is not None and not REPOSITORY.fullmatch(stage.push):
        yield "push", f"must be OWNER/NAME on the hub, got {stage.push!r}"
    if stage.card and stage.card.license_name and stage.card.license != "other":
        yield "card.license_name", "the hub reads it only with `license: other`"


def _model(
    stage: Export, adapter: str | None, merged: bool, quantized: bool
) -> Iterator[tuple[str, str]]:
    whole = [each for each in stage.formats or () if each != "adapter"]
    if whole and adapter is not None:
        yield (
            "formats",
            f"'{whole[0]}' holds a whole model: put a merge stage between, or export "
            f"`formats: [adapter]` of '{adapter}'",
        )
    elif whole and quantized:
        yield "formats", f"'{whole[0]}' holds whole weights: take `base.quantization` out"
    if "adapter" in (stage.formats or ()) and adapter is None and not merged:
        yield "formats", "there is no adapter; train one before it with `lora`"
