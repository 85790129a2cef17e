"""What stages will take, as a table: parts of memory down, stages across."""

from __future__ import annotations

from collections.abc import Sequence

from finetune.chain.forecast import Forecast, Place
from finetune.sizes import size_text

ORDER = (
    *("weights", "adapter", "gradients", "optimizer", "reference", "activations", "logits"),
    *("cache", "merging", "gathered", "checkpoint", "libraries"),
)
LEAST = 5e6  # bytes below which a number says nothing
ASSUMED = "* its rows cannot be read here (`finetune audit RECIPE` says why): for 1,000 of them"
WIDTH = 48  # of the bars
# Of each part a letter.
LETTERS = dict(zip(ORDER, "wagorxlkmtfp", strict=True))


def table(found: Sequence[Forecast], place: Place) -> str:
    """Gigabytes by part and stage, the time, and what else is to be said."""
    planned = [each for each in found if not each.why]
    free = " free" if place.machine.on_cpu else ""
    memory = f"{place.machine.name}: {size_text(place.machine.memory)}{free}{_many(place)}"
    text = [*_figures(planned), "", memory, *_bars(planned, place), ""] if planned else [memory]
    text += [f"{each.stage}: {', '.join(filter(None, (each.batch, *each.notes)))}"
             for each in planned]  # fmt: skip
    text += [f"time: {_told_by(planned)}"] if planned else []
    text += [ASSUMED] if any(each.assumed for each in planned) else []
    text += [f"{each.stage}: {each.why}" for each in found if each.why]
    text += [line for each in planned for line in _verdict(each, place)]
    text += [line for each in planned for line in _savings(each)]
    return "\n".join(text)


def _figures(planned: Sequence[Forecast]) -> list[str]:
    parts = [part for part in ORDER if any(each.parts.get(part, 0) > LEAST for each in planned)]
    return [
        _row("memory at the peak, GB", [each.stage for each in planned]),
        *(_row(f"  {part}", [_gb(each.parts.get(part, 0)) for each in planned]) for part in parts),
        _row("  in all", [_gb(each.total) for each in planned]),
        _row("time", [_time(each.seconds) + ("*" if each.assumed else "") for each in planned]),
    ]


def _bars(planned: Sequence[Forecast], place: Place) -> list[str]:
    """A line a stage: each part's letter as often as its share, dots for what is free.

    What stands behind the second bar does not fit.
    """
    whole = max(place.machine.memory, *(each.total for each in planned))
    names = max(len(each.stage) for each in planned)
    shown = {each.stage: _bar(each, whole) for each in planned}
    seen = [part for part in ORDER if any(LETTERS[part] in bar for bar in shown.values())]
    full = round(WIDTH * place.machine.memory / whole)
    lines = [
        f"  {name:<{names}} |{bar[:full]:.<{full}}|{bar[full:]}" for name, bar in shown.items()
    ]
    return [*lines, f"  {'':<{names}}  " + "  ".join(f"{LETTERS[part]} {part}" for part in seen)]


def _bar(each: Forecast, whole: float) -> str:
    """Ends of parts are rounded, and not their lengths: what they add up to is right."""
    found, end = "", 0
    for part in ORDER:
        end += each.parts.get(part, 0)
        found += LETTERS[part] * (round(WIDTH * end / whole) - len(found))
    return found


def _row(title: str, values: Sequence[str]) -> str:
    return f"{title:<24}" + "".join(f"{value:>11}" for value in values)


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f}" if size > LEAST else "-"


def _many(place: Place) -> str:
    return f" each, {place.processes} processes" if place.processes > 1 else ""


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "< 1 s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _told_by(planned: Sequence[Forecast]) -> str:
    return "; ".join(dict.fromkeys(f"from {each.told_by}" for each in planned))


def _verdict(each: Forecast, place: Place) -> list[str]:
    if each.total <= place.machine.memory:
        return []
    over = each.total - place.machine.memory
    return [f"{each.stage} does not fit: it lacks {size_text(over)}"]


def _savings(each: Forecast) -> list[str]:
    most = sorted(each.savings.items(), key=lambda item: -item[1])
    return [f"{each.stage}: {setting} saves {size_text(saved)}" for setting, saved in most]
