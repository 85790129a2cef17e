"""A query as what its clauses say, so that order, aliases and spelling do not matter.

Follows Spider's rules for exact set match (Yu et al. 2018, taoyds/spider): each clause is a set
of its parts, values and DISTINCT are left out unless asked for, tables are compared without the
conditions that join them, and columns tied by a foreign key are the same. Where the reference
takes only Spider's grammar, any SELECT is taken here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from finetune.metrics.sql_exact_set_match.names import Names, Scope
from finetune.metrics.sql_parse import ParseError, parse


@dataclass(frozen=True)
class Counts:
    """What makes a query hard, as Spider counts it."""

    joins: int
    ors: int
    likes: int
    negations: int
    nested: int
    aggregates: int
    columns: int
    conditions: int
    groups: int


@dataclass(frozen=True)
class Clauses:
    """Each clause as its sorted parts; two queries match when these are equal.

    `combined` is the query after UNION, INTERSECT or EXCEPT, with that word.
    """

    select: tuple[str, ...]
    distinct: bool
    tables: tuple[str, ...]
    where: tuple[str, ...]
    where_words: tuple[str, ...]
    group: tuple[str, ...]
    having: tuple[str, ...]
    having_words: tuple[str, ...]
    order: tuple[str, ...]
    limit: str
    combined: tuple[str, Clauses] | None
    counts: Counts = field(compare=False)

    def text(self) -> str:
        """One text for all of it; nothing is escaped, or nested queries would grow with 2^depth."""
        parts = [self.select, self.tables, self.where, self.where_words, self.group]
        parts += [self.having, self.having_words, self.order]
        lists = " | ".join(", ".join(part) for part in parts)
        rest = f"{self.combined[0]} {self.combined[1].text()}" if self.combined else ""
        return f"({self.distinct} | {lists} | {self.limit} | {rest})"


@dataclass(frozen=True)
class Options:
    """What counts beside structure."""

    values: bool = False
    distinct: bool = False


def clauses(query: str, names: Names, options: Options) -> Clauses:
    """The clauses of a query on a database of these names.

    Raises:
        ParseError: the text is no query, or too deep.
    """
    try:
        return _Reader(names, options).read(parse(query, names.columns), None)
    except RecursionError as error:
        raise ParseError("too deep") from error


class _Reader:
    def __init__(self, names: Names, options: Options) -> None:
        self.names, self.options = names, options
        self.common: dict[str, str] = {}  # WITH name -> what it says

    def read(self, tree: exp.Expr, outer: Scope | None) -> Clauses:
        """Left-deep set operations become a chain, the way Spider writes them."""
        for each in tree.args["with_"].expressions if tree.args.get("with_") else ():
            self.common[each.alias.lower()] = self.read(each.this, outer).text()
        chain: list[tuple[str, exp.Expr]] = []
        ending = tree
        while isinstance(tree, exp.SetOperation):
            chain.append((self._word(tree), tree.expression))
            tree = tree.this
        parts = [("", tree), *reversed(chain)]
        result: tuple[str, Clauses] | None = None
        for number, (word, part) in reversed(list(enumerate(parts))):
            last = ending if number == len(parts) - 1 else part
            result = word, self._select(_bare(part), last, outer, result)
        assert result is not None
        return result[1]

    def _word(self, tree: exp.SetOperation) -> str:
        word = type(tree).__name__.lower()
        return f"{word} all" if self.options.distinct and not tree.args.get("distinct") else word

    def _select(
        self,
        tree: exp.Expr,
        ending: exp.Expr,
        outer: Scope | None,
        combined: tuple[str, Clauses] | None,
    ) -> Clauses:
        """One SELECT; `ending` is the node that ORDER BY and LIMIT hang on."""
        if isinstance(tree, exp.SetOperation):  # in brackets, which Spider's grammar has not
            return self.read(tree, outer)
        sources = _sources(tree)
        scope = Scope(self.names, {alias: _table(each) for alias, each in sources}, outer)
        meant = _aliases(tree)
        where, having = (tree.args.get(name) for name in ("where", "having"))
        wheres, havings = (_conditions(each.this if each else None) for each in (where, having))
        order, group = ending.args.get("order"), tree.args.get("group")
        ordered = [_meant(each.this, meant) for each in (order.expressions if order else ())]
        grouped = [_meant(each, meant) for each in (group.expressions if group else ())]
        joined = [_conditions(each.args.get("on")) for each in tree.args.get("joins") or ()]
        limit = ending.args.get("limit")
        return Clauses(
            select=self._parts([_unaliased(each) for each in tree.expressions], scope),
            distinct=self.options.distinct and bool(tree.args.get("distinct")),
            tables=tuple(sorted(self._source(each, outer) for _, each in sources)),
            where=self._parts(wheres.leaves, scope),
            where_words=wheres.words,
            group=self._parts(grouped, scope),
            having=self._parts([_meant(each, meant) for each in havings.leaves], scope),
            having_words=havings.words,
            order=tuple(
                f"{self._text(each, scope)} {'desc' if node.args.get('desc') else 'asc'}"
                for each, node in zip(ordered, order.expressions if order else (), strict=True)
            ),
            limit=self._text(limit.expression, scope) if limit else "",
            combined=combined,
            counts=_counts(tree, wheres, [havings, *joined], ordered, combined is not None),
        )

    def _source(self, node: exp.Expr, outer: Scope | None) -> str:
        side = getattr(node.parent, "side", "") if isinstance(node.parent, exp.Join) else ""
        name = _table(node)
        if name in self.common:
            name = self.common[name]
        elif not name:
            name = self.read(_bare(node), outer).text()
        return f"{side.lower()} {name}".strip()

    def _parts(self, nodes: list[exp.Expr], scope: Scope) -> tuple[str, ...]:
        return tuple(sorted(self._text(node, scope) for node in nodes))

    def _text(self, node: exp.Expr, scope: Scope) -> str:
        """An expression with one spelling for all that mean the same column."""
        return node.copy().transform(self._plain, scope).sql("sqlite")

    def _plain(self, node: exp.Expr, scope: Scope) -> exp.Expr:
        if isinstance(node, exp.Query):
            return exp.Var(this=self.read(_bare(node), scope).text())
        if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
            return exp.Var(this=scope.column(node.table, node.name))
        if isinstance(node, exp.Paren):
            return node.this.transform(self._plain, scope)
        if isinstance(node, exp.Distinct) and not self.options.distinct:
            return node.expressions[0].transform(self._plain, scope)
        if not self.options.values:
            return _without_values(node)
        return node


@dataclass(frozen=True)
class _Conditions:
    """What AND and OR connect, and which of the two do."""

    leaves: list[exp.Expr]
    words: tuple[str, ...]
    ors: int


def _conditions(node: exp.Expr | None) -> _Conditions:
    leaves: list[exp.Expr] = []
    words: list[str] = []
    waiting = [node] if node is not None else []
    while waiting:
        node = waiting.pop()
        while isinstance(node, exp.Paren):
            node = node.this
        if isinstance(node, exp.And | exp.Or):
            words.append(type(node).__name__.lower())
            waiting += [node.this, node.expression]
        else:
            leaves.append(node)
    return _Conditions(leaves, tuple(sorted(set(words))), words.count("or"))


def _counts(
    tree: exp.Expr,
    where: _Conditions,
    others: list[_Conditions],
    ordered: list[exp.Expr],
    combined: bool,
) -> Counts:
    """`others` are the conditions of HAVING, then those of each JOIN."""
    leaves = [leaf for each in (where, *others) for leaf in each.leaves]
    shown = [*tree.expressions, *ordered]
    group = tree.args.get("group")
    return Counts(
        joins=max(0, len(_sources(tree)) - 1),
        ors=sum(each.ors for each in (where, *others)),
        likes=sum(isinstance(_positive(leaf), exp.Like) for leaf in leaves),
        negations=sum(isinstance(leaf, exp.Not) for leaf in where.leaves + others[0].leaves),
        nested=sum(len(_nested(leaf)) for leaf in leaves) + combined,
        aggregates=sum(bool(_outside_queries(each, exp.AggFunc)) for each in shown),
        columns=len(tree.expressions),
        conditions=len(where.leaves),
        groups=len(group.expressions) if group else 0,
    )


def _positive(leaf: exp.Expr) -> exp.Expr:
    return leaf.this if isinstance(leaf, exp.Not) else leaf


def _nested(leaf: exp.Expr) -> list[exp.Expr]:
    """The queries right inside a condition; those inside them count no more."""
    found = leaf.dfs(prune=lambda node: isinstance(node, exp.Query))
    return [node for node in found if isinstance(node, exp.Query)]


def _outside_queries(node: exp.Expr, kind: type[exp.Expr]) -> list[exp.Expr]:
    found = node.dfs(prune=lambda each: isinstance(each, exp.Query))
    return [each for each in found if isinstance(each, kind)]


def _sources(tree: exp.Expr) -> list[tuple[str, exp.Expr]]:
    """Alias in lower case and node of everything in FROM."""
    start = tree.args.get("from_")
    nodes = [start.this] if start else []
    nodes += [join.this for join in tree.args.get("joins") or ()]
    return [(node.alias_or_name.lower(), node) for node in nodes]


def _table(node: exp.Expr) -> str:
    return node.name.lower() if isinstance(node, exp.Table) else ""


def _bare(node: exp.Expr) -> exp.Expr:
    """A query without brackets and alias around it."""
    while isinstance(node, exp.Subquery | exp.Paren):
        node = node.this
    return node


def _aliases(tree: exp.Expr) -> dict[str, exp.Expr]:
    """What names given in SELECT, and the numbers of its columns, mean."""
    named = {e.alias.lower(): e.this for e in tree.expressions if isinstance(e, exp.Alias)}
    numbered = {str(n): _unaliased(e) for n, e in enumerate(tree.expressions, start=1)}
    return {**numbered, **named}


def _meant(node: exp.Expr, aliases: Mapping[str, exp.Expr]) -> exp.Expr:
    if isinstance(node, exp.Column) and not node.table:
        return aliases.get(node.name.lower(), node)
    if isinstance(node, exp.Literal) and not node.is_string:
        return aliases.get(node.name, node)
    return node


def _unaliased(node: exp.Expr) -> exp.Expr:
    return node.this if isinstance(node, exp.Alias) else node


def _without_values(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Literal | exp.Boolean):
        return exp.Placeholder()
    if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal):
        return exp.Placeholder()
    if isinstance(node, exp.In) and all(isinstance(e, exp.Literal) for e in node.expressions):
        node.set("expressions", node.expressions[:1])
    return node
