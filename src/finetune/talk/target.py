"""Which model is meant: a recipe, a run, a stage, a folder, an adapter, a base."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.chain import record as records
from finetune.chain.files import shown
from finetune.chain.record import DamagedRecordError, Record
from finetune.embedded import BASES
from finetune.errors import FinetuneError
from finetune.job import ModelRef
from finetune.recipe.finding import shipped
from finetune.recipe.types import Base

FOUR_BITS = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}


@dataclass(frozen=True)
class Target:
    """A model to talk to, and what to call it; `words` is a folder with its own tokenizer."""

    ref: ModelRef
    name: str
    words: Path | None = None

    def tokenizer(self) -> tuple[Any, list[str]] | None:
        """The tokenizer saved with an adapter that no record tells about; None otherwise."""
        if self.words is None or not (self.words / "tokenizer_config.json").is_file():
            return None
        from finetune.models.tokenizers import load_tokenizer

        return load_tokenizer(Base(model=str(self.words)))


def find_target(text: str, stage: str | None, base: Mapping[str, Any]) -> Target:
    """The model that a word on the command line means.

    `base` are fields of `Base` given there: `model` for an adapter, `dtype`, `quantization`.

    Raises:
        FinetuneError: there is no such model.
    """
    folder = Path(text).expanduser()
    if text in BASES:
        return _whole(text, text, base)
    if folder.is_dir():
        return _in_folder(folder, stage, base)
    is_recipe = folder.is_file() or folder.suffix in {".yaml", ".yml"} or shipped(text)
    if is_recipe or "/" not in text:
        return _of_recipe(text, stage)
    return _whole(text, text, base)


def _in_folder(folder: Path, stage: str | None, base: Mapping[str, Any]) -> Target:
    if found := _record(folder):
        return _of_record(found)
    if any(folder.glob(f"*/{records.NAME}")):
        return _of_run(folder, stage)
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        return _adapter(folder, base)
    if (folder / "config.json").is_file():
        made = _record(folder.parent)
        ref = made.model_ref() if made and not base else None
        if made and ref and Path(str(ref.base.model)).resolve() == folder.resolve():
            return _of_record(made)
        return _whole(str(folder), shown(folder), base)
    raise FinetuneError(
        "this folder holds no model",
        where=str(folder),
        remedy="Give a run's folder, a stage's, one that `save_pretrained` wrote, an adapter's, a "
        "recipe, a built-in base or a hub id.",
    )


def _whole(model: str, name: str, base: Mapping[str, Any]) -> Target:
    return Target(ModelRef(base=Base(**{**base, "model": base.get("model") or model})), name)


def _adapter(folder: Path, base: Mapping[str, Any]) -> Target:
    """An adapter on the base that a record, the command line or its own config names."""
    made = _record(folder.parent)
    if made and not base and (ref := made.model_ref()) and ref.adapters:
        return _of_record(made)
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    named = base.get("model") or config.get("base_model_name_or_path")
    if not named:
        raise FinetuneError(
            "the adapter does not say which base it was trained on",
            where=str(folder),
            remedy="Give it: --base MODEL.",
        )
    ref = ModelRef(base=Base(**{**base, "model": named}), adapters=(folder,))
    return Target(ref, f"{shown(folder)} on {named}", words=folder)


def _of_record(found: Record) -> Target:
    ref = found.model_ref()
    if ref is None:
        exported = found.folder / "export"
        if (exported / "config.json").is_file():
            return _whole(str(exported), shown(exported), {})
        raise FinetuneError(
            f"the stage {found.name!r} ({found.kind}) leaves no model", where=str(found.folder)
        )
    return Target(ref, f"{found.name} of {shown(found.folder.parent)}")


def _of_run(folder: Path, stage: str | None) -> Target:
    done = [made for each in folder.glob(f"*/{records.NAME}") if (made := _record(each.parent))]
    return _latest({made.name: made for made in sorted(done, key=_finished)}, stage, str(folder))


def _of_recipe(text: str, stage: str | None) -> Target:
    from finetune.chain.plan import make
    from finetune.chain.run import outcome
    from finetune.recipe import find, load
    from finetune.recipe.finding import missing

    path = Path(text)
    if not path.is_file() and shipped(text) is None:
        near = difflib.get_close_matches(text, BASES, n=1)
        hint = f"did you mean the base {near[0]!r}?" if near else missing(path)
        raise FinetuneError(f"no such model, run or recipe; {hint}", where=text)
    found = outcome(make(load(path if path.is_file() else find(text))))
    return _latest(found.records, stage, text)


def _latest(done: Mapping[str, Record], stage: str | None, where: str) -> Target:
    """The stage asked for, else the last one that left a model."""
    if stage is not None:
        if stage not in done:
            has = ", ".join(done) or "none"
            raise FinetuneError(
                f"no stage {stage!r} is done here; done are: {has}",
                where=where,
                remedy="Give --stage one of them, or run the recipe.",
            )
        return _of_record(done[stage])
    models = [made for made in done.values() if made.model]
    if not models:
        raise FinetuneError(
            "no stage is done that leaves a model",
            where=where,
            remedy=f"Run the recipe first: finetune run {where}",
        )
    return _of_record(models[-1])


def _record(folder: Path) -> Record | None:
    if folder.suffix == ".part":
        return None
    try:
        return records.read(folder.resolve())
    except DamagedRecordError as error:
        raise FinetuneError(str(error), where=str(folder)) from error


def _finished(made: Record) -> str:
    return str(made.made.get("finished", ""))


def with_base(model: str | None, dtype: str | None, four_bits: bool) -> dict[str, Any]:
    """Fields of `Base` that the command line gives."""
    given = {"model": model, "dtype": dtype, "quantization": FOUR_BITS if four_bits else None}
    return {key: value for key, value in given.items() if value is not None}
