"""The scores of an evaluation as text: each model's means, and how it compares with the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finetune.report.layout import WIDTH, columns, number, spread
from finetune.report.scores import table_of

Part = Mapping[str, Any]  # one task of a comparison
BEST = "*"
LEGEND = f"± half of the 95% interval   {BEST} best of the column"


def scores(comparison: Mapping[str, Part]) -> str:
    """Every task: a table of means, and the models against the first of them."""
    blocks = [block for name, part in comparison.items() for block in _task(name, part)]
    return "\n\n".join([*blocks, LEGEND]) if blocks else ""


def _task(title: str, part: Part) -> list[str]:
    metrics = [
        each
        for each in part["metrics"]
        if each.get("in_table", True) and _anyone_has(part, each["name"])
    ]
    cells = {each["name"]: _column(each, part) for each in metrics}
    tables = [
        columns(
            [
                [f"{title} ({part['rows']})" if first else "", *chunk],
                *([model, *(cells[name][model] for name in chunk)] for model in part["models"]),
            ],
            right=True,
        )
        for first, chunk in _chunks(title, part, cells)
    ]
    headline = table_of("", title, part).headline
    name = headline.name if headline else metrics[0]["name"]
    return [*tables, _against(name, part)] if part["pairs"] else tables


def _anyone_has(part: Part, metric: str) -> bool:
    return any(metric in numbers for numbers in part["models"].values())


def _chunks(
    title: str, part: Part, cells: Mapping[str, Mapping[str, str]]
) -> list[tuple[bool, list[str]]]:
    """Metrics in tables no wider than a terminal; whether each is the first."""
    side = max(len(f"{title} ({part['rows']})"), *(len(model) for model in part["models"]))
    chunks: list[list[str]] = [[]]
    width = side
    for name, column in cells.items():
        wide = 2 + max(len(name), *(len(cell) for cell in column.values()))
        if chunks[-1] and width + wide > WIDTH:
            chunks.append([])
            width = side
        chunks[-1].append(name)
        width += wide
    return [(index == 0, chunk) for index, chunk in enumerate(chunks)]


def _column(metric: Mapping[str, str], part: Part) -> dict[str, str]:
    name = metric["name"]
    best = _best(metric, part["models"])
    found = {}
    for model, numbers in part["models"].items():
        if name not in numbers:
            found[model] = "- "
            continue
        mean, low, high = (numbers[name][key] for key in ("mean", "low", "high"))
        around = f" ±{spread((high - low) / 2)}" if low is not None else ""
        found[model] = f"{number(mean)}{around}{BEST if model == best else ' '}"
    return found


def _best(metric: Mapping[str, str], models: Mapping[str, Any]) -> str | None:
    """The model that is alone ahead; None where no direction is better, or none is ahead."""
    name = metric["name"]
    values = {model: each[name]["mean"] for model, each in models.items() if name in each}
    if metric["better"] == "neither" or len(values) < 2:
        return None
    top = (max if metric["better"] == "higher" else min)(values.values())
    ahead = [model for model, value in values.items() if number(value) == number(top)]
    return ahead[0] if len(ahead) == 1 else None


def _against(metric: str, part: Part) -> str:
    """The headline metric of each model, compared row by row with the first model's."""
    head = [f"{metric} against {part['against']}", "difference", "95% interval", "p"]
    rows = [[*head, "wins", "ties", "losses"]]
    for model, pairs in part["pairs"].items():
        if metric in pairs:
            rows.append([model, *_compared(pairs[metric])])
    return columns(rows, right=True) if len(rows) > 1 else ""


def _compared(pair: Mapping[str, Any]) -> Sequence[str]:
    return [
        _signed(pair["difference"]),
        f"{_signed(pair['low'])} to {_signed(pair['high'])}",
        f"{pair['p']:.4f}",
        *(str(pair[key]) for key in ("wins", "ties", "losses")),
    ]


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value)}"
