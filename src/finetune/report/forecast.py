"""What stages will take, as a table: parts of memory down, stages across."""

from __future__ import annotations

from collections.abc import Sequence

from finetune.chain.forecast import Forecast, Place

ORDER = (
    *("weights", "adapter", "gradients", "optimizer", "reference", "activations", "logits"),
    *("cache", "merging", "gathered", "checkpoint", "libraries"),
)
LEAST = 5e6  # bytes below which a number says nothing


def table(found: Sequence[Forecast], place: Place) -> str:
    """Gigabytes by part and stage, the time, and what else is to be said."""
    planned = [each for each in found if not each.why]
    lines = [_row("memory at the peak, GB", [each.stage for each in planned])]
    parts = [part for part in ORDER if any(each.parts.get(part, 0) > LEAST for each in planned)]
    lines += [
        _row(f"  {part}", [_gb(each.parts.get(part, 0)) for each in planned]) for part in parts
    ]
    lines += [
        _row("  in all", [_gb(each.total) for each in planned]),
        _row("time", [_time(each.seconds) for each in planned]),
    ]
    text = lines if planned else []
    free = " free" if place.machine.on_cpu else ""
    text += [f"{place.machine.name}: {place.machine.memory / 1e9:.1f} GB{free}{_many(place)}"]
    text += [f"{each.stage}: {', '.join((each.batch, *each.notes))}" for each in planned]
    text += [f"time: {_told_by(planned)}"] if planned else []
    text += [f"{each.stage}: {each.why}" for each in found if each.why]
    text += [line for each in planned for line in _verdict(each, place)]
    text += [line for each in planned for line in _savings(each)]
    return "\n".join(text)


def _row(title: str, values: Sequence[str]) -> str:
    return f"{title:<24}" + "".join(f"{value:>11}" for value in values)


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f}" if size > LEAST else "-"


def _many(place: Place) -> str:
    return f" each, {place.processes} processes" if place.processes > 1 else ""


def _time(seconds: float) -> str:
    if not seconds:
        return "?"  # how many rows there are is not known
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _told_by(planned: Sequence[Forecast]) -> str:
    return "; ".join(dict.fromkeys(f"from {each.told_by}" for each in planned))


def _verdict(each: Forecast, place: Place) -> list[str]:
    if each.total <= place.machine.memory:
        return []
    over = each.total - place.machine.memory
    return [f"{each.stage} does not fit: it lacks {over / 1e9:.2f} GB"]


def _savings(each: Forecast) -> list[str]:
    most = sorted(each.savings.items(), key=lambda item: -item[1])
    return [f"{each.stage}: {setting} saves {saved / 1e9:.2f} GB" for setting, saved in most]
