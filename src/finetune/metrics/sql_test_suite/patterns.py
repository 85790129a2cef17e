"""What rows a right query speaks of: tables that join, and what it asks of their columns.

A pattern is read off each SELECT. Rows that fit it, and rows that miss it by a hair, are what
tells the query from a wrong one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqlglot import exp

from finetune.metrics.sql_exact_set_match.names import Names, Scope
from finetune.metrics.sql_parse import ParseError, parse

Place = tuple[int, str]  # a table by its number in the pattern, and a column in lower case

_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_SIGNS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "!=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.Like: "like",
}
_MOST_IN_GROUP = 6


@dataclass(frozen=True)
class Condition:
    """`place sign values`; `sign` is a comparison, "like", "in", "between" or "null"."""

    place: Place
    sign: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Pattern:
    """`tables` joined where `equal` says so; `groups` are columns that GROUP BY holds together.

    `sizes` are the numbers of rows that HAVING compares a count with.
    """

    tables: tuple[str, ...] = ()
    equal: tuple[tuple[Place, Place], ...] = ()
    conditions: tuple[Condition, ...] = ()
    groups: tuple[Place, ...] = ()
    sizes: tuple[int, ...] = ()
    ordered: tuple[Place, ...] = ()
    shown: tuple[Place | None, ...] = ()


def patterns(query: str, names: Names) -> list[Pattern]:
    """The patterns of a query: of each SELECT in it, and of those that share values together."""
    try:
        found = _of_query(parse(query, names.columns), names, None)
        return list(dict.fromkeys(each for each in found if each.tables))
    except (ParseError, RecursionError):
        return []


def _of_query(tree: exp.Expr, names: Names, outer: Scope | None) -> Iterator[Pattern]:
    tree = _bare(tree)
    if isinstance(tree, exp.SetOperation):
        left, right = (list(_of_query(each, names, outer)) for each in (tree.this, tree.expression))
        if isinstance(tree, exp.Intersect) and left and right:
            yield _joined(left[0], right[0], zip(left[0].shown, right[0].shown, strict=False))
        yield from left
        yield from right
    elif isinstance(tree, exp.Select):
        yield from _Reader(tree, names, outer).patterns()


class _Reader:
    """Reads one SELECT."""

    def __init__(self, tree: exp.Select, names: Names, outer: Scope | None) -> None:
        self.tree, self.names = tree, names
        start = tree.args.get("from_")
        nodes = [start.this] if start else []
        nodes += [join.this for join in tree.args.get("joins") or ()]
        self.below = [node for node in nodes if isinstance(node, exp.Subquery)]
        tables = [node for node in nodes if isinstance(node, exp.Table)]
        found = {node.alias_or_name.lower(): node.name.lower() for node in tables}
        self.sources = {alias: name for alias, name in found.items() if name in names.tables}
        self.scope = Scope(names, self.sources, outer)

    def patterns(self) -> Iterator[Pattern]:
        whole = Pattern(
            tables=tuple(self.sources.values()),
            groups=self._places("group"),
            ordered=self._places("order"),
            sizes=tuple(self._sizes()),
            shown=tuple(self._place(_unaliased(each)) for each in self.tree.expressions),
        )
        inside: list[Pattern] = []
        linked: list[Pattern] = []
        for leaf in self._leaves():
            whole = self._with(whole, leaf)
            for column, query in _queries(leaf):
                found = list(_of_query(query, self.names, self.scope))
                inside += found
                place = self._place(column) if column is not None else None
                if found and place and found[0].shown:
                    linked.append(_joined(whole, found[0], [(place, found[0].shown[0])]))
        yield linked[-1] if linked else whole
        yield whole
        yield from inside
        for node in self.below:
            yield from _of_query(node, self.names, self.scope)

    def _leaves(self) -> list[exp.Expr]:
        waiting = [
            join.args["on"] for join in self.tree.args.get("joins") or () if join.args.get("on")
        ]
        waiting += [self.tree.args[n].this for n in ("where", "having") if self.tree.args.get(n)]
        leaves: list[exp.Expr] = []
        while waiting:
            node = waiting.pop()
            if isinstance(node, exp.And | exp.Or):
                waiting += [node.this, node.expression]
            elif isinstance(node, exp.Paren):
                waiting.append(node.this)
            else:
                leaves.append(node)
        return leaves

    def _with(self, pattern: Pattern, leaf: exp.Expr) -> Pattern:
        while isinstance(leaf, exp.Not | exp.Paren):  # rows on both sides of it are made anyway
            leaf = leaf.this
        sign = _SIGNS.get(type(leaf), "")
        one, other = self._place(leaf.this), self._place(leaf.args.get("expression"))
        if sign == "=" and one and other and one != other:
            return replace(pattern, equal=(*pattern.equal, (one, other)))
        condition: Condition | None = None
        if sign and one and (values := _values([leaf.expression])):
            condition = Condition(one, sign, values)
        elif sign and other and (values := _values([leaf.this])):
            condition = Condition(other, _TURNED.get(sign, sign), values)
        elif isinstance(leaf, exp.Between) and one:
            values = _values([leaf.args["low"], leaf.args["high"]])
            condition = Condition(one, "between", values) if len(values) == 2 else None
        elif isinstance(leaf, exp.In) and one and (values := _values(leaf.expressions)):
            condition = Condition(one, "in", values)
        elif isinstance(leaf, exp.Is) and one:
            condition = Condition(one, "null")
        if condition is None:
            return pattern
        return replace(pattern, conditions=(*pattern.conditions, condition))

    def _places(self, clause: str) -> tuple[Place, ...]:
        node = self.tree.args.get(clause)
        nodes = [
            getattr(each, "this", each) if clause == "order" else each
            for each in (node.expressions if node else ())
        ]
        return tuple(place for each in nodes if (place := self._place(each)))

    def _place(self, node: Any) -> Place | None:
        """Where the one column in an expression lies, when it is one of these tables."""
        if not isinstance(node, exp.Expr) or isinstance(node, exp.Query | exp.Subquery):
            return None
        columns = [node] if isinstance(node, exp.Column) else list(node.find_all(exp.Column))
        if len(columns) != 1:
            return None
        table, name = columns[0].table.lower(), columns[0].name.lower()
        for number, (alias, source) in enumerate(self.sources.items()):
            if (table == alias or not table) and name in self.names.tables[source]:
                return number, name
        return None

    def _sizes(self) -> Iterator[int]:
        having = self.tree.args.get("having")
        for node in having.find_all(exp.Literal) if having else ():
            if not node.is_string and node.name.isdigit() and int(node.name) <= _MOST_IN_GROUP:
                yield int(node.name)


def _queries(leaf: exp.Expr) -> Iterator[tuple[exp.Expr | None, exp.Expr]]:
    """The queries in a condition, each with what must equal its value."""
    for node in leaf.walk(prune=lambda each: isinstance(each, exp.Query)):
        if isinstance(node, exp.Query):
            above = node.parent if not isinstance(node.parent, exp.Subquery) else node.parent.parent
            same = isinstance(above, exp.In | exp.EQ)
            yield (above.this if same and above is not None else None), node


def _joined(one: Pattern, other: Pattern, pairs: Any) -> Pattern:
    """Both patterns at once, the values of each pair of places the same."""
    first = len(one.tables)

    def moved(place: Place) -> Place:
        return place[0] + first, place[1]

    ties = [(a, moved(b)) for a, b in pairs if a and b]
    return Pattern(
        tables=one.tables + other.tables,
        equal=(*one.equal, *((moved(a), moved(b)) for a, b in other.equal), *ties),
        conditions=(
            *one.conditions,
            *(replace(each, place=moved(each.place)) for each in other.conditions),
        ),
        groups=(*one.groups, *map(moved, other.groups)),
        sizes=one.sizes + other.sizes,
        ordered=(*one.ordered, *map(moved, other.ordered)),
        shown=(*one.shown, *(moved(each) if each else None for each in other.shown)),
    )


def _values(nodes: list[exp.Expr]) -> tuple[Any, ...]:
    """The constants that these are, none when one is something else."""
    found: list[Any] = []
    for node in nodes:
        negative = isinstance(node, exp.Neg)
        inner = node.this if negative else node
        if not isinstance(inner, exp.Literal):
            return ()
        value: Any = inner.name
        if not inner.is_string:
            try:
                value = int(value)
            except ValueError:
                value = float(value)
        found.append(-value if negative and not isinstance(value, str) else value)
    return tuple(found)


def _bare(node: exp.Expr) -> exp.Expr:
    while isinstance(node, exp.Subquery | exp.Paren):
        node = node.this
    return node


def _unaliased(node: exp.Expr) -> exp.Expr:
    return node.this if isinstance(node, exp.Alias) else node
