"""Recipes laid over one another: what `extends` takes in, and what the command line changes.

One grammar serves both: a mapping changes only the keys it holds; `stages` replaces the list; the
name of a stage at the top changes that stage alone; null takes away. On the command line
`tasks[0]` changes one item of a list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import NamedTuple

from finetune.recipe.parse import parse_value
from finetune.recipe.problems import Problems
from finetune.recipe.tree import COMMAND_LINE, Block, Entry, Listing, Node, Place, Scalar
from finetune.recipe.types import Recipe

RECIPE_KEYS = frozenset(field.name for field in fields(Recipe))
# The key that a bare text is short for, by the key it stands under.
SHORT_FOR = {"data": "path", "tasks": "task"}
ITEM = re.compile(r"\[\d+\]")


class StageNode(NamedTuple):
    """One entry of `stages`, taken apart."""

    kind: str
    name: str
    settings: Block
    place: Place


def stage_of(node: Node) -> StageNode | None:
    """`kind: {…}`, or a kind alone; None when it is neither."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return StageNode(node.value, node.value, Block({}, node.place), node.place)
    if not isinstance(node, Block) or len(node.entries) != 1:
        return None
    [(kind, entry)] = node.entries.items()
    settings = entry.node
    if isinstance(settings, Scalar) and settings.blank:
        settings = Block({}, entry.place)
    if not isinstance(settings, Block):
        return None
    name = settings.get("name")
    named = name.text if isinstance(name, Scalar) and name.value is not None else kind
    return StageNode(kind, named, settings, entry.place)


def lay(below: Block, above: Block) -> Block:
    """`below` changed by what `above` says."""
    entries = dict(below.entries)
    changes = []
    for key, entry in above:
        if key in RECIPE_KEYS:
            entries[key] = _over(entries.get(key), entry, key)  # a list replaces a list
        else:
            changes.append((key, entry))
    for key, entry in changes:
        stages = entries.get("stages")
        changed = _changed(stages.node, key, entry) if stages else None
        if stages and changed is not None:
            entries["stages"] = Entry(stages.place, changed)
        else:
            entries[key] = entry  # no such stage: the reader says so
    return Block(entries, below.place if below.entries else above.place)


def overrides(texts: Sequence[str], problems: Problems) -> list[Block]:
    """`dpo.train.beta=0.2` as the mapping it stands for, one each."""
    place = Place(COMMAND_LINE)
    found = []
    for text in texts:
        path, equals, value = text.partition("=")
        keys = _keys(path.strip())
        if not equals or not all(keys):
            problems.add(place, f"{text!r} is no change; write KEY=VALUE, such as seed=1")
            continue
        if keys[0] in {"extends", "launch"}:
            problems.add(place, f"{path}: belongs into a file")
            continue
        node = parse_value(value, place, problems)
        if node is None:
            continue
        if isinstance(node, Scalar) and node.value is None and not node.blank:
            node = replace(node, removes=True)
        for key in reversed(keys):
            node = Block({key: Entry(place, node)}, place)
        found.append(node)
    return [each for each in found if isinstance(each, Block)]


def _over(below: Entry | None, above: Entry, key: str) -> Entry:
    if below is None:
        return above
    old, new = below.node, above.node
    if isinstance(new, Scalar) and _is_null(new):
        return Entry(above.place, replace(new, removes=True))
    if isinstance(old, Listing) and isinstance(new, Block) and _names_items(new, old):
        return Entry(above.place, _with_items(old, new, key))
    if key in SHORT_FOR and isinstance(old, Scalar) and isinstance(old.value, str):
        old = Block({SHORT_FOR[key]: Entry(old.place, old)}, old.place)
    if not (isinstance(old, Block) and isinstance(new, Block)):
        return above
    entries = dict(old.entries)
    for inner, entry in new:
        entries[inner] = _over(entries.get(inner), entry, inner)
    return Entry(above.place, Block(entries, old.place))


def _keys(path: str) -> list[str]:
    """`evaluate.tasks[0].rows` as evaluate, tasks, [0], rows."""
    return [key for part in path.split(".") for key in re.split(r"(?<=.)(?=\[\d+\]$)", part)]


def _names_items(change: Block, items: Listing) -> bool:
    """Whether every key is `[N]` with an item of that number, from 0."""
    return all(ITEM.fullmatch(key) and int(key[1:-1]) < len(items.items) for key, _ in change)


def _with_items(below: Listing, change: Block, key: str) -> Listing:
    items = list(below.items)
    for number, entry in change:
        place = int(number[1:-1])
        items[place] = _over(Entry(entry.place, items[place]), entry, key).node
    return Listing(tuple(items), below.place)


def _changed(stages: Node, name: str, change: Entry) -> Listing | None:
    """The list of stages with one of them changed; None when there is none of this name."""
    if not isinstance(stages, Listing):
        return None
    items: list[Node] = []
    hit = False
    for item in stages.items:
        stage = stage_of(item)
        if stage is None or stage.name != name:
            items.append(item)
            continue
        hit = True
        if not _is_null(change.node):
            below = Entry(stage.place, stage.settings)
            node = _over(below, change, stage.kind).node
            items.append(Block({stage.kind: Entry(stage.place, node)}, item.place))
    return Listing(tuple(items), stages.place) if hit else None


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None and not node.blank
