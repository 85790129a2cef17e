"""Where a key belongs that stands in the wrong place, or is spelled as in another tool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields

from finetune.recipe.fields import fields_of
from finetune.recipe.problems import near, suggestion
from finetune.recipe.refused import why_not
from finetune.recipe.spellings import SPELLINGS
from finetune.recipe.types import STAGES, Base, Data, Part, Recipe, Rows, Score, Tokenizer

ROWS = {field.name for field in fields(Rows)}
TOP = (*(field.name for field in fields(Recipe)), "extends")
KINDS = ("sft", *(kind for kind in STAGES if kind != "sft"))  # what a key of no stage is meant for


def written_names(kind: type) -> tuple[str, ...]:
    """Keys of one of our own blocks, as a recipe writes them (`from`, not `from_`)."""
    return tuple(field.name.rstrip("_") for field in fields(kind))


def required(kind: type) -> tuple[str, ...]:
    """Keys that a block cannot do without."""
    return tuple(
        field.name
        for field in fields(kind)
        if field.default is MISSING and field.default_factory is MISSING
    )


def allowed(class_name: str, kind: str) -> list[str]:
    """Fields of a library's class that a recipe may hold, in a stage of this kind."""
    return [name for name in fields_of(class_name) if not why_not(class_name, name, kind)]


def unknown(key: str, path: str, known: Sequence[str], what: str, chain: Chain) -> str:
    """The message about a key that its block does not have."""
    stage, level = path.partition(".")[0], path.rpartition(".")[2]
    spelled = SPELLINGS.get(f"{level}.{key}") or SPELLINGS.get(key)
    if spelled and (right := _spelled(spelled, stage, chain)) != f"{path}.{key}":
        return f"`{key}` is written `{right}` here"
    if place := _elsewhere(key, path, chain):
        return f"`{key}` belongs to {place}"
    if not path and (reason := why_not("SFTConfig", key, "")):
        return f"not set here: {reason}"
    # A mistyped spelling of another tool leads to the right name too: rnk -> rank -> r.
    other = {name: right.split(".")[-1] for name, right in SPELLINGS.items()}
    own = {name: name for name in known}
    pool = {**{name: right for name, right in other.items() if right in known}, **own}
    if match := near(key, pool):
        return f"{what}; did you mean '{pool[match]}'?"
    # A file without stages is another tool's: a list of ours at each of its keys helps nobody.
    return what + (suggestion(key, known) if path or chain else "")


class Chain(tuple[tuple[str, str], ...]):
    """(name, kind) of each stage, in order."""

    def named(self, kind: str) -> str:
        """A stage of this kind by its name; the kind itself where there is none."""
        return next((name for name, each in self if each == kind), kind)

    def having(self, block: str, first: str) -> str:
        """The stage that has this block: `first`, or the next best."""
        stages = [(name, kind) for name, kind in self if name == first] + list(self)
        for name, kind in [*stages, *((kind, kind) for kind in KINDS)]:
            if kind in STAGES and block in written_names(STAGES[kind]):
                return name
        return "sft"


def _spelled(target: str, stage: str, chain: Chain) -> str:
    if ":" in target:
        kind, rest = target.split(":")
        return f"{chain.named(kind)}.{rest}"
    block = target.partition(".")[0]
    return target if block in TOP else f"{chain.having(block, stage)}.{target}"


def _elsewhere(key: str, path: str, chain: Chain) -> str | None:
    """The full name of a key that stands at another level."""
    stage = path.partition(".")[0]
    own = [each for each in chain if each[0] == stage]
    for name, kind in [*own, *chain]:
        for block, names in _blocks(name, kind):
            if key in names and block != path:
                return f"`{block}.{key}`"
    for block, names in _base_blocks():
        if key in names and block != path:
            return f"`{block}.{key}`"
    if key in TOP and path:
        return f"the top of the recipe: `{key}`"
    for kind in KINDS:
        for block, names in _blocks(kind, kind):
            if key in names:
                inner = block.partition(".")[2]
                return f"{f'`{inner}` of ' if inner else ''}a stage of kind {kind}"
    return None


def _blocks(name: str, kind: str) -> Iterator[tuple[str, Sequence[str]]]:
    if kind not in STAGES:
        return
    own = [field for field in fields(STAGES[kind]) if field.name != "name"]
    yield name, [field.name.rstrip("_") for field in own]
    for field in own:
        if field.name == "data":
            yield f"{name}.data", [each for each in written_names(Data) if each not in TOP]
            yield f"{name}.data.mix", [each for each in written_names(Part) if each not in ROWS]
        if field.name == "tasks":
            yield f"{name}.tasks", [each for each in written_names(Score) if each != "name"]
        for class_name in field.metadata.get("fills", ()):
            yield f"{name}.{field.name}", allowed(class_name, kind)


def _base_blocks() -> Iterator[tuple[str, Sequence[str]]]:
    yield "base", written_names(Base)
    yield "base.quantization", allowed("BitsAndBytesConfig", "")
    yield "base.tokenizer", written_names(Tokenizer)
