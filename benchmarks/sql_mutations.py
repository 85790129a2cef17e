"""Wrong queries made out of right ones, one change each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlglot import exp

from finetune.metrics.sql_parse import parse

SIGNS = {
    exp.LT: (exp.LTE, exp.GT),
    exp.LTE: (exp.LT, exp.GTE),
    exp.GT: (exp.GTE, exp.LT),
    exp.GTE: (exp.GT, exp.LTE),
    exp.EQ: (exp.NEQ, exp.GTE),
    exp.NEQ: (exp.EQ,),
}
AGGREGATES = {
    exp.Count: (exp.Sum, exp.Max),
    exp.Sum: (exp.Avg, exp.Count),
    exp.Avg: (exp.Sum, exp.Max),
    exp.Max: (exp.Min, exp.Avg),
    exp.Min: (exp.Max,),
}
COMBINED = {
    exp.Intersect: (exp.Union, exp.Except),
    exp.Union: (exp.Intersect,),
    exp.Except: (exp.Intersect, exp.Union),
}

Tables = Mapping[str, Sequence[str]]  # table in lower case -> its columns


def mutants(
    query: str, tables: Tables, values: Mapping[str, Sequence[Any]]
) -> list[tuple[str, str]]:
    """(kind, query) of every change that gives another text.

    `values` are some that a column of this name (in lower case) holds.
    """
    columns = {column.lower() for names in tables.values() for column in names}
    tree = parse(query, columns)
    found: dict[str, str] = {}
    before = tree.sql("sqlite")
    for number, node in enumerate(tree.walk()):
        for kind, change in _changes(node, tables, values):
            copy = tree.copy()
            target = next(each for n, each in enumerate(copy.walk()) if n == number)
            after = change(target)
            whole = after if target is copy and isinstance(after, exp.Expr) else copy
            text = whole.sql("sqlite")
            if text != before:
                found.setdefault(text, kind)
    return [(kind, text) for text, kind in found.items()]


def _changes(node: exp.Expr, tables: Tables, values: Mapping[str, Sequence[Any]]) -> Iterator[Any]:
    if isinstance(node, exp.Select):
        yield from _of_select(node)
    elif isinstance(node, exp.Literal):
        yield from _of_constant(node, values)
    elif isinstance(node, exp.Column):
        yield from _of_column(node, tables)
    elif isinstance(node, exp.AggFunc | exp.Distinct):
        yield from _of_aggregate(node)
    elif isinstance(node, exp.Ordered):
        yield "order turned round", lambda it: it.set("desc", not it.args.get("desc"))
    elif isinstance(node, exp.Join):
        yield "outer join", lambda it: it.set("side", "LEFT")
    elif type(node) in COMBINED:
        for other in COMBINED[type(node)]:
            yield (
                "set operation swapped",
                lambda it, other=other: _replaced(
                    it, other(this=it.this, expression=it.expression, distinct=True)
                ),
            )
        yield "set operation cut off", lambda it: _replaced(it, it.this)
        yield "set operation cut off", lambda it: _replaced(it, it.expression)
    else:
        yield from _of_condition(node)


def _of_condition(node: exp.Expr) -> Iterator[Any]:
    if type(node) in SIGNS and not isinstance(node.parent, exp.Join):
        where = "having" if node.find_ancestor(exp.Having) else "comparison"
        for sign in SIGNS[type(node)]:
            if {type(node), sign} in ({exp.LT, exp.LTE}, {exp.GT, exp.GTE}):
                kind = f"{where}: edge (< to <=)"
            else:
                kind = f"{where}: sign"
            yield kind, _as(sign)
    if isinstance(node, exp.Connector):
        other = exp.Or if isinstance(node, exp.And) else exp.And
        yield "AND and OR swapped", _as(other)
        yield "one condition dropped", lambda it: it.replace(it.this)
        yield "one condition dropped", lambda it: it.replace(it.expression)
    if isinstance(node, exp.Not):
        yield "negation dropped", lambda it: it.replace(it.this)
    if isinstance(node, exp.In | exp.Like | exp.Between) and not isinstance(node.parent, exp.Not):
        yield "negation added", lambda it: it.replace(exp.Not(this=it.copy()))


def _of_aggregate(node: exp.Expr) -> Iterator[Any]:
    for other in AGGREGATES.get(type(node), ()):
        if not (isinstance(node.this, exp.Star) and other is not exp.Sum):
            yield (
                "aggregate swapped (COUNT to SUM)",
                lambda it, other=other: it.replace(other(this=_summed(it))),
            )
    if isinstance(node, exp.Distinct) and isinstance(node.parent, exp.Count):
        yield "DISTINCT dropped", lambda it: it.parent.set("this", it.expressions[0])
    if isinstance(node, exp.Count) and isinstance(node.this, exp.Column):
        yield "DISTINCT added", lambda it: it.set("this", exp.Distinct(expressions=[it.this]))


def _of_select(node: exp.Select) -> Iterator[Any]:
    if node.args.get("where"):
        yield "WHERE dropped", lambda it: it.set("where", None)
    if node.args.get("having"):
        yield "HAVING dropped", lambda it: it.set("having", None)
    if node.args.get("group"):
        yield "GROUP BY dropped", _ungrouped
    if node.args.get("distinct"):
        yield "DISTINCT dropped", lambda it: it.set("distinct", None)
    else:
        yield "DISTINCT added", lambda it: it.set("distinct", exp.Distinct())
    if node.args.get("order"):
        yield "order dropped", lambda it: it.set("order", None)
    if node.args.get("limit"):
        yield "LIMIT changed", lambda it: it.set("limit", None)
        more = int(node.args["limit"].expression.name) + 1
        yield "LIMIT changed", lambda it: it.limit(more, copy=False)
    joins = node.args.get("joins") or []
    for number in range(len(joins)):
        yield "join dropped", lambda it, n=number: it.args["joins"].pop(n) and None
    if len(node.expressions) > 1:
        for number in range(len(node.expressions)):
            yield "column dropped", lambda it, n=number: it.expressions.pop(n) and None


def _ungrouped(node: exp.Expr) -> None:
    node.set("group", None)
    node.set("having", None)


def _of_constant(node: exp.Literal, values: Mapping[str, Sequence[Any]]) -> Iterator[Any]:
    if node.find_ancestor(exp.Limit):
        return
    if not node.is_string:
        for step in (-1, 1):
            number = float(node.name) + step
            text = str(int(number) if number.is_integer() else number)
            yield "constant changed", lambda it, t=text: it.replace(exp.Literal.number(t))
        return
    if isinstance(node.parent, exp.Like):
        text = node.name
        for other in (text.strip("%"), text.lstrip("%"), text.rstrip("%"), f"%{text.strip('%')}%"):
            yield "LIKE pattern", lambda it, o=other: it.replace(exp.Literal.string(o))
        return
    column = next(iter(node.parent.find_all(exp.Column)), None) if node.parent else None
    known = values.get(column.name.lower(), ()) if column is not None else ()
    others = [str(value) for value in known if str(value) != node.name][:2]
    for other in others or [f"{node.name} x"]:
        yield "constant changed", lambda it, o=other: it.replace(exp.Literal.string(o))


def _of_column(node: exp.Column, tables: Tables) -> Iterator[Any]:
    """Two other columns of the same table."""
    select = node.find_ancestor(exp.Select)
    if select is None or isinstance(node.this, exp.Star):
        return
    sources = {each.alias_or_name.lower(): each.name.lower() for each in select.find_all(exp.Table)}
    alias, name = node.table.lower(), node.name.lower()
    table = sources.get(alias) or next(
        (t for t in sources.values() if name in map(str.lower, tables.get(t, ()))), ""
    )
    others = [each for each in tables.get(table, ()) if each.lower() != name]
    place = "join" if node.find_ancestor(exp.Join) else "column"
    for other in others[:1] + others[-1:]:
        yield (
            f"{place} swapped",
            lambda it, o=other: it.set("this", exp.to_identifier(o, quoted=True)),
        )


def _as(kind: type[exp.Expr]) -> Any:
    return lambda it: _replaced(it, kind(this=it.this, expression=it.expression))


def _replaced(node: exp.Expr, other: exp.Expr) -> exp.Expr:
    """Put another in its place; what hangs on a whole query stays with it."""
    for name in ("order", "limit"):
        if node.args.get(name) and not other.args.get(name):
            other.set(name, node.args[name])
    return node.replace(other) if node.parent else other


def _summed(node: exp.Expr) -> exp.Expr:
    """What stands in an aggregate; `*` cannot be added up, so rows count as 2 each."""
    return exp.Literal.number(2) if isinstance(node.this, exp.Star) else node.this.copy()


def rewrites(query: str, columns: set[str]) -> list[tuple[str, str]]:
    """(kind, query) of other ways to write the same."""
    before = parse(query, columns)
    found = []
    for kind, change in (
        ("spelling alone", lambda tree: None),
        ("conditions in another order", _conditions_swapped),
        ("comparisons turned round", _comparisons_turned),
        ("joined tables in another order", _tables_swapped),
    ):
        tree = before.copy()
        change(tree)
        text = tree.sql("sqlite")
        if kind == "spelling alone" or text != before.sql("sqlite"):
            found.append((kind, text))
    return found


def _conditions_swapped(tree: exp.Expr) -> None:
    for node in list(tree.find_all(exp.Connector)):
        one, other = node.this.copy(), node.expression.copy()
        node.set("this", other)
        node.set("expression", one)


def _comparisons_turned(tree: exp.Expr) -> None:
    turned = {exp.LT: exp.GT, exp.GT: exp.LT, exp.LTE: exp.GTE, exp.GTE: exp.LTE, exp.EQ: exp.EQ}
    for node in list(tree.find_all(*turned)):
        node.replace(turned[type(node)](this=node.expression.copy(), expression=node.this.copy()))


def _tables_swapped(tree: exp.Expr) -> None:
    """The first two tables of each FROM; `*` would show their columns in another order."""
    for node in list(tree.find_all(exp.Select)):
        joins, start = node.args.get("joins"), node.args.get("from_")
        if joins and start:
            one, other = start.this.copy(), joins[0].this.copy()
            start.set("this", other)
            joins[0].set("this", one)
