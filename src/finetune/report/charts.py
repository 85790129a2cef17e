"""Geometry of charts: where lines, ticks and labels go. Templates draw it as SVG.

Kept apart from drawing so that nothing but a template writes markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from finetune.report.layout import number

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 28, 42
MOST_POINTS = 120

Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """Values `low` to `high` laid out from `start` to `end` on the page."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value lies."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True)
class Series:
    """A line's points and its name in the legend."""

    label: str
    points: list[Point]


@dataclass(frozen=True)
class Dot:
    """A point on the page with the values it stands for."""

    x: float
    y: float
    at: float
    value: float


@dataclass(frozen=True)
class Line:
    """A series as it is drawn; `slot` decides colour, dashes and marker."""

    label: str
    slot: int
    path: str
    dots: list[Dot]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    place: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Everything a template needs to draw one chart."""

    title: str
    x_label: str
    y_label: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    level: Tick | None = None  # a horizontal line of a known value
    note: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    level: tuple[float, str] | None = None,
) -> Chart | None:
    """A line chart; None when no series has two finite points."""
    thinned = [Series(each.label, thin(_finite(each.points))) for each in series]
    drawn = [each for each in thinned if len(each.points) > 1]
    if not drawn:
        return None
    xs = [x for each in drawn for x, _ in each.points]
    ys = [y for each in drawn for _, y in each.points] + ([level[0]] if level else [])
    x_ticks, y_ticks = ticks(min(xs), max(xs), 5), ticks(min(ys), max(ys), 5)
    x_scale = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_scale = Scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    lines = [
        _line(each, slot, x_scale, y_scale)
        for slot, each in enumerate(thinned)
        if len(each.points) > 1
    ]
    merged = max(len(_finite(each.points)) for each in series) > MOST_POINTS
    return Chart(
        title,
        x_label,
        y_label,
        lines,
        x_ticks=[
            Tick(x_scale.at(x), label(x, x_ticks)) for x in x_ticks if min(xs) <= x <= max(xs)
        ],
        y_ticks=[Tick(y_scale.at(y), label(y, y_ticks)) for y in y_ticks],
        level=Tick(y_scale.at(level[0]), level[1]) if level else None,
        note="Each point is the mean of several logged steps." if merged else "",
    )


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten) that enclose `low` to `high`."""
    if high <= low:
        margin = abs(low) / 2 or 1.0
        low, high = low - margin, high + margin
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    digits = 1 - math.floor(math.log10(step))  # 69 * 0.01 is a little more than 0.69
    return [round(index * step, digits) for index in range(first, last + 1)]


def label(value: float, among: Sequence[float]) -> str:
    """A tick's text with as many digits as tell it from its neighbours."""
    step = among[1] - among[0] if len(among) > 1 else 1.0
    largest = max(abs(each) for each in among)
    if largest >= 1e6 or (largest and step < 1e-4):
        return f"{value:.1e}" if value else "0"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{digits}f}" if digits else number(round(value))


def thin(points: list[Point]) -> list[Point]:
    """At most `MOST_POINTS`: neighbours are averaged, the first and the last stay."""
    if len(points) <= MOST_POINTS:
        return points
    size = math.ceil((len(points) - 2) / (MOST_POINTS - 2))
    inner = points[1:-1]
    groups = [inner[start : start + size] for start in range(0, len(inner), size)]
    means = [(_mean([x for x, _ in each]), _mean([y for _, y in each])) for each in groups]
    return [points[0], *means, points[-1]]


def _line(series: Series, slot: int, x: Scale, y: Scale) -> Line:
    dots = [
        Dot(round(x.at(at), 1), round(y.at(value), 1), at, value) for at, value in series.points
    ]
    path = " ".join(f"{dot.x:g},{dot.y:g}" for dot in dots)
    return Line(series.label, slot, path, dots)


def _finite(points: list[Point]) -> list[Point]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
