"""Files and changed keys to one checked recipe."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.embedded import BASES
from finetune.recipe.check import check
from finetune.recipe.data_check import seeded
from finetune.recipe.fields import is_null, is_removed
from finetune.recipe.finding import missing, shipped
from finetune.recipe.header import without_header
from finetune.recipe.layers import StageNode, lay, overrides, stage_of
from finetune.recipe.parse import parse
from finetune.recipe.places import Chain
from finetune.recipe.problems import Problems, suggestion
from finetune.recipe.read import Reading
from finetune.recipe.tree import Block, Entry, Listing, Node, Place, Scalar, shown
from finetune.recipe.types import STAGES, Base, Candidate, Recipe, Stage


def load(path: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, with keys changed as on the command line (`dpo.train.beta=0.2`).

    Raises:
        RecipeError: all that is wrong with it, each with its line.
    """
    problems = Problems()
    file = Path(path)
    block = _file(file, problems)
    for change in overrides(changes, problems):
        block = lay(block, change)
    if not block.entries or problems.touch("extends"):
        problems.stop()  # what an unread parent holds cannot be told to be missing
    return _recipe(block, Reading(problems), file)


def _file(path: Path, problems: Problems, within: tuple[Path, ...] = ()) -> Block:
    """One file laid over those it extends; empty where nothing of it can be read."""
    source = str(path)
    text = _text(path, problems)
    node = parse(text, source, problems) if text is not None else None
    if text is None or (node is None and problems.found):
        return Block()
    if not isinstance(node, Block):
        what = "is empty" if node is None else f"holds {shown(node)}"
        place = Place(source, node.place.line if node else 1)
        problems.add(place, f"a recipe is a mapping with `base` and `stages`; this file {what}")
        return Block()
    own = without_header(node, text, source, problems)
    target = own.entries.get("extends")
    if target is None:
        return lay(Block(), own)
    below = _extended(path, target, problems, (*within, path.resolve()))
    return lay(below, own.without("extends"))


def _extended(path: Path, target: Entry, problems: Problems, within: tuple[Path, ...]) -> Block:
    if not isinstance(target.node, Scalar) or not isinstance(target.node.value, str):
        problems.add(target.place, f"must be one file, got {shown(target.node)}", "extends")
        return Block()
    beside = Path(os.path.normpath(path.parent / Path(target.node.value).expanduser()))
    found = beside if beside.is_file() else shipped(target.node.value)
    if found is None:
        problems.add(target.place, f"{beside}: {missing(beside)}", "extends")
        return Block()
    if found.resolve() in within:
        names = " -> ".join(each.name for each in (*within, found))
        problems.add(target.place, f"recipes extend each other without end: {names}", "extends")
        return Block()
    return _file(found, problems, within)


def _text(path: Path, problems: Problems) -> str | None:
    place = Place(str(path))
    if not path.is_file():
        problems.add(place, missing(path))
        return None
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes().count(b"\n", 0, error.start) + 1
        problems.add(Place(str(path), line), "not UTF-8; save the file in that encoding")
    except OSError as error:
        problems.add(place, f"cannot be read: {error.strerror}")
    return None


def _recipe(block: Block, reading: Reading, file: Path) -> Recipe:
    nodes = _stage_nodes(block, reading)
    reading.chain = Chain((node.name, node.kind) for node in nodes)
    reading.stage_places = [node.place for node in nodes]
    reading.start = block.place
    given: dict[str, Any] = {"base": Base(), "stages": ()}
    base = block.entries.get("base")
    if base is None or not reading.is_filled(base, "base", Base):
        if base is None:
            reading.refuse(block.place, "base", "is missing; write base: {model: NAME}")
    else:
        reading.places["base"] = base.place
        given["base"] = reading.block(Base, base.node, "base") or Base()
    given["stages"] = tuple(filter(None, (_stage(node, reading) for node in nodes)))
    rest = _named(block.without("base", "stages"), file.stem)
    recipe: Recipe = reading.block(Recipe, rest, "", **given)
    if recipe.name and not recipe.output_dir:
        object.__setattr__(recipe, "output_dir", f"runs/{recipe.name}")
    check(recipe, reading)
    reading.problems.stop()
    seeded(recipe)
    return recipe


def _named(block: Block, name: str) -> Block:
    """The block with this name, unless it has its own."""
    own = block.get("name")
    if own is not None and not is_removed(own):
        return block
    given = Entry(block.place, Scalar(name, name, block.place))
    return Block({**block.entries, "name": given}, block.place)


def _stage_nodes(block: Block, reading: Reading) -> list[StageNode]:
    stages = block.entries.get("stages")
    if stages is None or is_null(stages.node):
        example = "stages: [{sft: {data: samples.jsonl, lora: {}}}]"
        reading.refuse(block.place, "stages", f"is missing; write what to do, such as {example}")
        return []
    reading.places["stages"] = stages.place
    if not isinstance(stages.node, Listing):
        reading.refuse(stages.place, "stages", "must be a list; put a `-` before each stage")
        return []
    nodes = []
    for item in stages.node.items:
        if (node := stage_of(item)) is not None:
            nodes.append(node)
            continue
        reading.refuse(item.place, "stages", _no_stage(item))
    return nodes


def _no_stage(item: Node) -> str:
    if isinstance(item, Block) and len(item.entries) == 1:
        [(kind, entry)] = item.entries.items()
        return f"the settings of `{kind}` must be a mapping, got {shown(entry.node)}"
    hint = "; indent its settings further than its kind" if isinstance(item, Block) else ""
    return f"a stage is `KIND: {{…}}` with one of {', '.join(STAGES)}{hint}"


def _stage(node: StageNode, reading: Reading) -> Stage | None:
    if node.kind not in STAGES:
        message = f"no such kind of stage{suggestion(node.kind, STAGES)}"
        reading.refuse(node.place, node.kind, message)
        return None
    reading.places[node.name] = node.place
    settings = _named(replace(node.settings, place=node.place), node.kind)
    stage: Stage = reading.block(STAGES[node.kind], settings, node.name, node.kind)
    for model in getattr(stage, "models", None) or ():
        _place(model, reading)
    return stage


def _place(model: Candidate, reading: Reading) -> None:
    """A text alone that can be no stage's name is where a model lies; its last part is its name."""
    text, stages = model.name, [name for name, _ in reading.chain]
    alone = model.model is None and isinstance(text, str) and text not in stages
    if alone and ("/" in text or text in BASES):
        object.__setattr__(model, "model", text)
        object.__setattr__(model, "name", Path(text).name)
