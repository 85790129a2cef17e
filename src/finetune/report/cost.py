"""What the stages took, and the machines and versions they were made on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finetune.chain.record import Record

MACHINE = ("device", "platform", "python", "commit")


@dataclass(frozen=True)
class Stage:
    """Time and memory of one stage; `share` is percent of the longest."""

    name: str
    seconds: float | None
    share: float
    ram: int | None
    gpu: int | None
    rows_per_second: float | None
    ranks: int
    size: int
    device: str


@dataclass(frozen=True)
class Cost:
    """Of all stages, those that were kept included."""

    stages: list[Stage]

    @property
    def seconds(self) -> float:
        """All stages together."""
        return sum(each.seconds or 0.0 for each in self.stages)

    @property
    def devices(self) -> list[str]:
        """What computed, each once."""
        return list(dict.fromkeys(each.device for each in self.stages if each.device))

    @property
    def has_gpu(self) -> bool:
        """Whether any stage used one."""
        return any(each.gpu for each in self.stages)


def cost(records: list[Record]) -> Cost:
    """As the records have it."""
    longest = max((float(each.made.get("seconds") or 0) for each in records), default=0.0) or 1.0
    return Cost([_stage(each, longest) for each in records])


def _stage(record: Record, longest: float) -> Stage:
    made, memory = record.made, record.made.get("peak_memory", {})
    seconds = made.get("seconds")
    return Stage(
        name=record.name,
        seconds=seconds,
        share=round(100 * (seconds or 0) / longest, 1),
        ram=memory.get("ram"),
        gpu=memory.get("gpu"),
        rows_per_second=record.facts.get("rows_per_second"),
        ranks=int(made.get("ranks", 1)),
        size=sum(record.files.values()),
        device=str(made.get("device", "")),
    )


def machines(records: list[Record]) -> list[tuple[list[str], dict[str, Any]]]:
    """Machine and versions, told once for all stages that share them."""
    found: list[tuple[list[str], dict[str, Any]]] = []
    for record in records:
        facts = {name: record.made[name] for name in MACHINE if record.made.get(name)}
        if record.made.get("dirty"):
            facts["commit"] = f"{facts.get('commit', '')}, with changes not committed"
        facts |= record.made.get("versions", {})
        same = next((names for names, known in found if known == facts), None)
        if same is not None:
            same.append(record.name)
        else:
            found.append(([record.name], facts))
    return found


def changed_versions(records: list[Record]) -> list[str]:
    """Libraries that were not the same for all stages of this run."""
    by_library: dict[str, dict[str, list[str]]] = {}
    for record in records:
        for library, version in record.made.get("versions", {}).items():
            by_library.setdefault(library, {}).setdefault(version, []).append(record.name)
    return [
        f"{library} was not the same for all stages: "
        + "; ".join(f"{version} for {', '.join(names)}" for version, names in versions.items())
        for library, versions in by_library.items()
        if len(versions) > 1
    ]
