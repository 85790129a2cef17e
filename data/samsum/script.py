"""Reads the scenario scripts under `content/`: families of beats, each beat turns plus what to say of it in a summary.

A script is line based. `family NAME` starts a scenario; `$ a, b = x | y; z | w` gives slots drawn together;
`open`, `maybe`, `end`, `prelude`, `detour`, `side` and `close` start a beat; `A: one / two` is a turn and its
paraphrases (`-` leaves the turn out); `> one / two` is the beat's summary sentence and `>> one / two` a summary of
the whole chat. An indented line continues the one before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CONTENT = Path(__file__).parent / "content"
BEAT_KINDS = ("open", "maybe", "end", "prelude", "detour", "side", "close")


class ScriptError(ValueError):
    """A scenario script says something the maker cannot use; the message names the place and the text."""


@dataclass
class Turn:
    speaker: str
    lines: list[str]


@dataclass
class Beat:
    kind: str
    turns: list[Turn] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)

    @property
    def told(self) -> bool:
        """Whether the summary has to mention this beat."""
        return bool(self.sentences or self.whole)


@dataclass
class SlotGroup:
    names: list[str]
    rows: list[list[str]]


@dataclass
class Family:
    name: str
    slots: list[SlotGroup] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Beat]:
        return [beat for beat in self.beats if beat.kind == kind]


def logical_lines(path: Path) -> Iterator[str]:
    """The lines of a script without comments and blanks, continuation lines joined."""
    held = ""
    for raw in path.read_text(encoding="utf-8").splitlines():
        if not raw.strip() or raw.startswith("#"):
            continue
        if raw[0].isspace():
            held += " " + raw.strip()
            continue
        if held:
            yield held
        held = raw.strip()
    if held:
        yield held


def split_ways(text: str) -> list[str]:
    return [way.strip() for way in text.split(" / ")]


def parse_slots(line: str) -> SlotGroup:
    left, _, right = line.partition("=")
    names = [name.strip() for name in left.split(",")]
    rows = [[cell.strip() for cell in row.split("|")] for row in right.split(";")]
    for row in rows:
        if len(row) != len(names):
            raise ScriptError(f"slot row {row} should have {len(names)} values for {names}")
    return SlotGroup(names, rows)


def add_to_beat(beat: Beat, line: str) -> None:
    if line.startswith(">>"):
        beat.whole += split_ways(line[2:])
    elif line.startswith(">"):
        beat.sentences += split_ways(line[1:])
    elif line[:2] in ("A:", "B:", "C:"):
        beat.turns.append(Turn(line[0], split_ways(line[2:])))
    else:
        raise ScriptError(
            f"cannot read the line {line!r}: expected a turn, a summary sentence or a beat"
        )


def read_families(path: Path) -> list[Family]:
    families: list[Family] = []
    for line in logical_lines(path):
        if line.startswith("family "):
            families.append(Family(line.split()[1]))
        elif line.startswith("$"):
            families[-1].slots.append(parse_slots(line[1:]))
        elif line in BEAT_KINDS:
            families[-1].beats.append(Beat(line))
        else:
            add_to_beat(families[-1].beats[-1], line)
    return families


def read_scenarios(folder: Path = CONTENT) -> list[Family]:
    """All scenario families, in the order of their files' names."""
    families = [
        family for path in sorted(folder.glob("scenes_*.txt")) for family in read_families(path)
    ]
    for family in families:
        if not family.of_kind("open") or not family.of_kind("end"):
            raise ScriptError(f"family {family.name} needs at least one `open` and one `end`")
    return families


def read_pools(path: Path = CONTENT / "pools.txt") -> dict[str, list[str]]:
    """Named lists of values every scenario may draw from, one `name = a; b; c` a line."""
    pools: dict[str, list[str]] = {}
    for line in logical_lines(path):
        name, _, values = line.partition("=")
        pools[name.strip()] = [value.strip() for value in values.split(";")]
    return pools
