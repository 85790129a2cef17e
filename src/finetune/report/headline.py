"""A run in a few sentences: what came out, against what, and how sure that is."""

from __future__ import annotations

from finetune.recipe.types import MERGED
from finetune.report.gather import Run
from finetune.report.layout import number
from finetune.report.scores import Metric, Pair, Table


def sentences(run: Run, found: list[Table]) -> list[str]:
    """One for each task, then one for each merge."""
    told = [sentence for table in found if (sentence := of_table(table))]
    for record in run.records:
        onto = record.facts.get("onto", MERGED)
        gap = record.facts.get(f"{onto}_max_logit")
        if gap is not None:
            told.append(
                f"{record.name}: the merged model's logits differ from the adapter's by "
                f"{number(gap)} at most."
            )
    return told


def of_table(table: Table) -> str:
    """The best model on the headline metric, against what it is compared with."""
    metric = table.headline
    names = [
        name
        for name, values in table.models.items()
        if metric and metric.name in values and name not in table.baselines
    ]
    if metric is None or not names:
        return ""
    values = {name: table.models[name][metric.name].mean for name in names}
    top = number(max(values.values(), key=lambda value: value * metric.sign))
    best = [name for name in names if number(values[name]) == top]
    against = table.against if table.against in names else names[0]
    if len(names) == 1:
        return f"On {table.name}, {names[0]} has {metric.name} {top}."
    if against in best:
        return f"On {table.name}, no model does better than {against}: {metric.name} {top}."
    told = (
        f"On {table.name}, {listed(best)} score{'s' if len(best) == 1 else ''} best: "
        f"{metric.name} {top}, {against} {number(values[against])}."
    )
    pair = table.pairs.get(best[-1], {}).get(metric.name)
    last = names[-1]
    end = f" The last model, {last}, has {number(values[last])}." if last not in best else ""
    return f"{told}{sureness(pair, table.rows)}{end}{_free(table, metric, values[best[-1]])}"


def _free(table: Table, metric: Metric, best: float) -> str:
    """That a baseline which costs nothing does better than every model."""
    values = {
        name: table.models[name][metric.name].mean
        for name in table.baselines
        if metric.name in table.models.get(name, {})
    }
    name = max(values, key=lambda name: values[name] * metric.sign, default=None)
    if name is None or values[name] * metric.sign <= best * metric.sign:
        return ""
    return f" The free baseline {name} does better than every model: {number(values[name])}."


def sureness(pair: Pair | None, rows: int | None) -> str:
    """A sentence on a difference: how large, and whether it may be chance."""
    if pair is None:
        return ""
    same = f"the same {number(rows)} rows" if rows else "the same rows"
    between = f"95% interval {signed(pair.low)} to {signed(pair.high)}, p {p_value(pair.p)}"
    if pair.told_apart:
        return f" The difference on {same} is {signed(pair.difference)} ({between})."
    return f" On {same} the difference of {signed(pair.difference)} may be chance ({between})."


def listed(names: list[str]) -> str:
    """Names as a sentence has them."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{'+' if value > 0 else ''}{number(value)}".replace("-", "\N{MINUS SIGN}", 1)


def p_value(value: float) -> str:
    """A p that no permutation can make 0."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
