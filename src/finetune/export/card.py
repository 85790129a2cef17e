"""The model card: what a model was made from and how, what it scores, how to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finetune.export.names import is_hub_id, shown
from finetune.job import Past
from finetune.recipe.leaving import Card
from finetune.recipe.types import MERGED, Base, Data, Evaluate, Merge, Rows

BRACKETS = "In brackets: the 95% confidence interval over rows."


def card(
    *,
    name: str,
    base: Base,
    settings: Card,
    past: Sequence[Past],
    uses: Mapping[str, str],
    checks: Sequence[str],
    recipe: str,
    is_adapter: bool,
) -> str:
    """The text of a README.md with the hub's metadata at its head.

    `uses` is {title: code}, `checks` are sentences of the round trip, `recipe` is YAML.
    """
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(
        base_model=base.model if is_hub_id(base.model) else None,
        datasets=hub_datasets(past) or None,
        language=list(settings.language) or None,
        library_name="peft" if is_adapter else "transformers",
        license=settings.license,
        license_name=settings.license_name,
        license_link=settings.license_link,
        pipeline_tag="text-generation",
        tags=[*dict.fromkeys(["finetune", *(each.stage.kind for each in past), *settings.tags])],
    )
    parts = [
        f"# {name}",
        settings.description,
        _made_from(base, past),
        _scores(past),
        _checks(checks),
        *(f"## {title}\n\n{code}" for title, code in uses.items()),
        _recipe(recipe),
        _licence(settings),
    ]
    text = "\n\n".join(part for part in parts if part)
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n"))


def hub_datasets(past: Sequence[Past]) -> list[str]:
    """Data sets of the hub that the model learnt from."""
    names = {rows.path for each in past for rows in _rows(each)}
    return sorted(name for name in names if name and is_hub_id(name))


def _rows(past: Past) -> Sequence[Rows]:
    """Where a stage's rows came from: one place, or the parts of a mix."""
    data = getattr(past.stage, "data", None)
    return (data.mix or (data,)) if isinstance(data, Data) else ()


def _made_from(base: Base, past: Sequence[Past]) -> str:
    rows = [["step", "from", "what came out"]]
    start = base.model or f"random weights ({(base.config or {}).get('model_type')})"
    if base.quantization:
        start += " in " + ("4 bits" if base.quantization.get("load_in_4bit") else "8 bits")
    rows.append(["base", shown(start), ""])
    for each in past:
        if not isinstance(each.stage, Evaluate):
            rows.append([each.stage.name, _source(each), _outcome(each)])
    return f"## How it was made\n\n{_table(rows)}"


def _source(past: Past) -> str:
    if isinstance(past.stage, Merge):
        return "its adapter"
    return ", ".join(_named(rows) for rows in _rows(past))


def _named(rows: Rows) -> str:
    path = shown(rows.path) if rows.path else None
    return " ".join(filter(None, [rows.sample or rows.task, path, rows.split]))


def _outcome(past: Past) -> str:
    facts = past.facts
    found = [f"{facts['rows']} rows"] if "rows" in facts else []
    if "steps" in facts:
        found.append(f"{facts['steps']} steps")
    if {"loss_first", "loss_last"} <= facts.keys():
        found.append(f"loss {facts['loss_first']:.3f} to {facts['loss_last']:.3f}")
    if isinstance(past.stage, Merge):
        way = facts.get("onto", MERGED)
        gap = facts.get(f"{way}_mean_kl")
        how = way if way == MERGED else f"onto {way}"
        found.append(f"{how}, KL {gap:.1e} nats" if gap is not None else "")
    return ", ".join(filter(None, found))


def _scores(past: Sequence[Past]) -> str:
    blocks = [_score_table(task, part) for each in past for task, part in each.comparison.items()]
    return "\n\n".join(["## What it scores", *blocks, BRACKETS]) if blocks else ""


def _score_table(task: str, part: Mapping[str, Any]) -> str:
    """A row for each model, a column for each metric of the table."""
    metrics = [each for each in part["metrics"] if each["in_table"]]
    heads = [f"{each['name']} ({each['unit']})" for each in metrics]
    rows = [[f"{task}, {part['rows']} rows", *heads]]
    for model, values in part["models"].items():
        rows.append([model, *(_score(values.get(each["name"])) for each in metrics)])
    return _table(rows)


def _score(value: Mapping[str, float] | None) -> str:
    if value is None:
        return "–"
    return f"{value['mean']:.4g} [{value['low']:.4g}, {value['high']:.4g}]"


def _checks(checks: Sequence[str]) -> str:
    lines = "\n".join(f"- {each}" for each in checks)
    return f"## Read back after writing\n\n{lines}" if lines else ""


def _recipe(recipe: str) -> str:
    return (
        "## Make it again\n\n```\nfinetune run recipe.yaml\n```\n\nwith this recipe.yaml, which "
        f"lies beside this card:\n\n```yaml\n{recipe.rstrip()}\n```"
    )


def _licence(settings: Card) -> str:
    if settings.license:
        return ""
    return (
        "## Licence\n\nNone is stated. What the licences of the base and of the data allow holds "
        "for this model."
    )


def _table(rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
