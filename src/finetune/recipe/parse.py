"""YAML text to a tree of placed values, YAML's own traps closed.

The tree is built from parser events, since PyYAML's constructors lose lines, keep the last of two
equal keys, and follow YAML 1.1, to which `2e-4` is a text and `no` is false.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from finetune.recipe.problems import Problems
from finetune.recipe.tree import Block, Entry, Listing, Node, Place, Scalar

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_MOST = 100_000  # values once every alias is followed: nested aliases grow without bound


class Unreadable(Exception):
    """The text is no YAML, or more of it than a recipe may hold."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line, self.message = line, message


def parse(text: str, source: str, problems: Problems) -> Node | None:
    """The tree of one document; None when there is none, or none that can be read."""
    import yaml

    try:
        events = iter(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        return _Composer(source, problems, events).document()
    except Unreadable as error:
        problems.add(Place(source, error.line), error.message)
    except yaml.YAMLError as error:
        line, message = _explain(error, text)
        problems.add(Place(source, line), message)
    return None


def parse_value(text: str, place: Place, problems: Problems) -> Node | None:
    """The value of one override, every part of it at `place`."""
    found = Problems()
    node = parse(text, place.source, found)
    for problem in found.found:
        problems.add(place, problem.message)
    if found.found:
        return None
    return _moved(node, place) if node is not None else Scalar(None, "", place)


def resolve(text: str) -> str | int | float | bool | None:
    """What a value without quotes means, by YAML 1.2's core schema."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    if _FLOAT.fullmatch(text):
        return float(
            text.replace(".inf", "inf")
            .replace(".Inf", "inf")
            .replace(".INF", "inf")
            .replace(".nan", "nan")
            .replace(".NaN", "nan")
            .replace(".NAN", "nan")
        )
    return text


@dataclass
class _Composer:
    source: str
    problems: Problems
    events: Iterator[Any]
    anchors: dict[str, tuple[Node, int]] = field(default_factory=dict)

    def document(self) -> Node | None:
        from yaml.events import DocumentStartEvent, StreamEndEvent

        next(self.events)  # start of stream
        if isinstance(next(self.events), StreamEndEvent):
            return None
        node, _ = self.node(next(self.events))
        next(self.events)  # end of document
        after = next(self.events)
        if isinstance(after, DocumentStartEvent):
            raise Unreadable(self.line(after), "a second document starts here: one recipe a file")
        return node

    def node(self, event: Any) -> tuple[Node, int]:
        """A value and how many values it holds."""
        from yaml.events import AliasEvent, MappingStartEvent, ScalarEvent

        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                raise Unreadable(self.line(event), f"no anchor &{event.anchor} stands above")
            return self.anchors[event.anchor]
        self.refuse_tag(event)
        if isinstance(event, ScalarEvent):
            made: tuple[Node, int] = self.scalar(event), 1
        elif isinstance(event, MappingStartEvent):
            made = self.block(event)
        else:
            made = self.listing(event)
        if made[1] > _MOST:
            raise Unreadable(self.line(event), "its aliases make this recipe endless")
        if event.anchor:
            self.anchors[event.anchor] = made
        return made

    def scalar(self, event: Any) -> Scalar:
        plain = event.implicit[0] and not event.tag
        value = resolve(event.value) if plain else event.value
        return Scalar(value, event.value, self.place(event))

    def listing(self, event: Any) -> tuple[Listing, int]:
        from yaml.events import SequenceEndEvent

        items, size = [], 1
        while not isinstance(inner := next(self.events), SequenceEndEvent):
            item, held = self.node(inner)
            items.append(item)
            size += held
        return Listing(tuple(items), self.place(event)), size

    def block(self, event: Any) -> tuple[Block, int]:
        from yaml.events import MappingEndEvent

        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        size = 1
        while not isinstance(inner := next(self.events), MappingEndEvent):
            key, place = self.key(inner), self.place(inner)
            node, held = self.node(next(self.events))
            size += held
            if key == "<<":
                merged = {**self.merge(node), **merged}
            elif key in own:
                first = own[key].place.line
                self.problems.add(place, f"`{key}` is written twice (first on line {first})")
            else:
                own[key] = Entry(place, node)
        return Block({**merged, **own}, self.place(event)), size

    def key(self, event: Any) -> str:
        from yaml.events import ScalarEvent

        if not isinstance(event, ScalarEvent):
            raise Unreadable(self.line(event), "a key must be a name, not a list or a mapping")
        return str(event.value)

    def merge(self, node: Node) -> dict[str, Entry]:
        """Entries of a `<<` value: of one mapping, or of several, the first counting most."""
        blocks = node.items if isinstance(node, Listing) else (node,)
        entries: dict[str, Entry] = {}
        for block in reversed(blocks):
            if not isinstance(block, Block):
                raise Unreadable(block.place.line, "`<<` takes in a mapping, or a list of them")
            entries.update(block.entries)
        return entries

    def refuse_tag(self, event: Any) -> None:
        if event.tag:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise Unreadable(
                self.line(event),
                f"the tag {tag} is not used in recipes; put a text that looks like a number or "
                "a truth value in quotes",
            )

    def place(self, event: Any) -> Place:
        return Place(self.source, self.line(event))

    def line(self, event: Any) -> int:
        return int(event.start_mark.line) + 1


def _explain(error: Any, text: str) -> tuple[int, str]:
    """The line of a YAML error, and its reason in words that say what to do."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        position = getattr(error, "position", 0)
        reason = getattr(error, "reason", str(error))
        return text.count("\n", 0, position) + 1, f"cannot be read as YAML: {reason}"
    lines = text.splitlines()
    line = min(mark.line, max(len(lines) - 1, 0))
    written = lines[line] if lines else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return line + 1, "a tab: YAML is indented with spaces"
    problem = str(getattr(error, "problem", None) or "cannot be read as YAML")
    if "unexpected end of stream" in problem and error.context_mark:
        return error.context_mark.line + 1, "the quote that opens here is never closed"
    if "mapping values are not allowed" in problem:
        problem = "a second `: ` in one line, or a line indented further than the one it belongs to"
    elif "did not find expected" in problem or "expected <block end>" in problem:
        problem = "the indentation fits no line above, or a bracket or quote above is not closed"
    elif "unexpected ':'" in problem:
        problem = "a `:` that belongs to no key; leave a space after each `:`"
    return line + 1, problem


def _moved(node: Node, place: Place) -> Node:
    if isinstance(node, Scalar):
        return replace(node, place=place)
    if isinstance(node, Listing):
        return Listing(tuple(_moved(item, place) for item in node.items), place)
    return Block({k: Entry(place, _moved(e.node, place)) for k, e in node}, place)
