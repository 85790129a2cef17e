"""The finished model in the forms that others take, each read back and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.console import say, warn
from finetune.data.examples import Message
from finetune.errors import FinetuneError
from finetune.export import artefacts, gguf_shapes, hub
from finetune.export.card import card
from finetune.export.gguf_vocabulary import check_vocabulary
from finetune.export.modelfile import turns
from finetune.export.names import named
from finetune.export.readers import Reader, ask, from_folder, of_gguf
from finetune.export.round_trip import Agreement, agreement, fitted
from finetune.export.usage import usage
from finetune.job import Job, ModelRef, Past, Result
from finetune.models.load import context_length, open_model, read_config
from finetune.models.tokenizers import load_tokenizer
from finetune.ranks import is_main
from finetune.recipe.types import Data, Export, Merge, Pretrain, Recipe
from finetune.recipe.write import to_yaml
from finetune.sums import write_sums
from finetune.tasks.examples import prompts

SAMPLE = Data(task="samsum", split="test")


def check(stage: Export, job: Job) -> None:
    """Find out before any training whether the base can be written in each format."""
    tokenizer, _ = load_tokenizer(job.model.base)
    if "gguf" in stage.formats:
        gguf_shapes.shape_of(read_config(job.model.base))
        check_vocabulary(tokenizer)
    if "ollama" in stage.formats:
        turns(tokenizer)
    if stage.push and is_main():
        hub.check_login(stage.push)


def run(stage: Export, job: Job) -> Result:
    """Write every format, read each back, describe them, upload them if asked; rank 0 works."""
    if not is_main():
        return Result()
    tokenizer, _ = load_tokenizer(job.model.base)
    folder = job.out / "export"
    name = stage.push.partition("/")[2] if stage.push else job.out.parent.name
    readers = _write(stage, job, tokenizer, folder, name)
    found, notes = _round_trip(stage, job, tokenizer, readers)
    _describe(stage, job, folder, name, [f"{file}: {each}" for file, each in found.items()])
    write_sums(folder)
    facts = _facts(found)
    if stage.push:
        message = f"{name}, exported by finetune"
        facts["pushed"] = hub.push(folder, stage.push, private=stage.private, message=message)
        say(f"  {job.name}: uploaded to {facts['pushed']}")
    return Result(facts=facts, warnings=tuple(notes))


def _write(
    stage: Export, job: Job, tokenizer: Any, folder: Path, name: str
) -> dict[str, Reader | None]:
    """Write every format; returns how each file is read back."""
    base = job.model.base
    readers: dict[str, Reader | None] = {}
    if "safetensors" in stage.formats:
        artefacts.write_safetensors(base, tokenizer, folder)
        readers["safetensors"] = from_folder(folder)
    if "adapter" in stage.formats:
        ref = _adapter(job)
        place = folder / "adapter" if len(stage.formats) > 1 else folder
        artefacts.write_adapter(ref.adapters, place)
        readers["adapter"] = lambda tokenizer, asked: ask(
            open_model(replace(ref, adapters=(place,))), tokenizer, asked
        )
    if "gguf" in stage.formats:
        files = artefacts.write_gguf_files(base, tokenizer, folder, name, stage.gguf)
        for kind, file in files.items():
            readers |= of_gguf(kind, file, base)
        if "ollama" in stage.formats:
            artefacts.write_modelfile(files[stage.gguf[-1]], tokenizer, read_config(base))
    if "bnb4" in stage.formats:
        artefacts.write_bnb4(base, tokenizer, folder / "bnb4")
        readers["bnb4"] = from_folder(folder / "bnb4")
    return readers


def _adapter(job: Job) -> ModelRef:
    """The adapter that the model was merged from, or is."""
    if job.model.adapters:
        return job.model
    for each in reversed(job.past):
        if isinstance(each.stage, Merge) and each.stage.combine and each.model:
            first = next(p for p in job.past if p.stage.name == each.stage.combine.adapters[0])
            folder = Path(str(each.model.base.model)).parent / "adapter"
            assert first.model is not None
            return replace(first.model, adapters=(*first.model.adapters[:-1], folder))
        if each.model and each.model.adapters:
            return each.model
    raise FinetuneError("there is no adapter to export", where=f"{job.name}.formats")


def _round_trip(
    stage: Export, job: Job, tokenizer: Any, readers: dict[str, Reader | None]
) -> tuple[dict[str, Agreement], list[str]]:
    """Ask the model in memory and each file the same; returns how they agree, and warnings."""
    model = open_model(job.model)
    asked = fitted(tokenizer, _prompts(job.past, stage.prompts), context_length(model))
    wanted = ask(model, tokenizer, asked)
    del model
    found: dict[str, Agreement] = {}
    notes: list[str] = []
    for name, reader in readers.items():
        if reader is None:
            notes.append(
                f"{name} was not read back: transformers does not read this architecture from "
                "GGUF, and llama.cpp is not installed (pip install 'finetune[llama-cpp]')"
            )
            continue
        found[name] = agreement(wanted, reader(tokenizer, asked))
        say(f"  {job.name}: {name}: {found[name]}")
        notes += _faults(name, found[name], job)
    for note in notes:
        warn(f"{job.name}: {note}")
    return found, notes


def _faults(name: str, found: Agreement, job: Job) -> list[str]:
    """What is wrong with a file that rounding cannot explain.

    Raises:
        FinetuneError: a file that holds the model's own numbers answers otherwise.
    """
    is_the_model = name == "safetensors" or (name == "adapter" and job.model.adapters)
    if is_the_model and (found.answers_equal, found.ids_equal) != (found.prompts, found.prompts):
        raise FinetuneError(
            f"{name} read back is another model: {found}",
            where=job.name,
            remedy="Nothing was uploaded. Please report this with the architecture's name.",
        )
    if found.ids_equal < found.prompts:
        return [f"{name} reads text otherwise than the tokenizer: {found}"]
    return []


def _facts(found: dict[str, Agreement]) -> dict[str, Any]:
    shown = (f"{name} {each.answers_equal}/{each.prompts}" for name, each in found.items())
    facts: dict[str, Any] = {"equal_answers": ", ".join(shown)}
    for name, each in found.items():
        facts |= each.facts(name.replace(" in llama.cpp", "_llama_cpp"))
    return facts


def _prompts(past: Sequence[Past], count: int) -> list[list[Message]]:
    """What the model was asked in its last training; the embedded sample where it had none."""
    learnt = (each.stage for each in reversed(past) if not isinstance(each.stage, Pretrain))
    data = next((stage.data for stage in learnt if hasattr(stage, "data")), SAMPLE)
    return [each.messages for each in prompts(data)[:count]]


def _describe(stage: Export, job: Job, folder: Path, name: str, checks: Sequence[str]) -> None:
    base = job.models["base"].base
    stages = tuple(each.stage for each in job.past)
    whole = Recipe(name=name, base=base, stages=(*stages, stage), seed=job.seed)
    recipe = to_yaml(whole, named)
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    text = card(
        name=name,
        base=base,
        settings=stage.card,
        past=job.past,
        uses=usage(stage, name, base),
        checks=checks,
        recipe=recipe,
        is_adapter=stage.formats == ("adapter",),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
