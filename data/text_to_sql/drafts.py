"""What a kind of question draws: the query, and the words its wordings may use."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from text_to_sql.conditions import Condition
from text_to_sql.schema import Column, Database, Link, Table
from text_to_sql.words import say_many, say_one


@dataclass(frozen=True)
class Draft:
    query: str
    words: dict[str, str | None]  # a wording that needs a missing word is not used
    order_key: str = ""  # with an order: the expression whose ties would make the answer unclear


@dataclass(frozen=True)
class Draw:
    """One place to draw from: a database and the random choices made in it."""

    database: Database
    rng: Random

    def table(self) -> Table:
        return self.rng.choice(self.database.tables)

    def named_table(self) -> Table:
        return self.rng.choice([table for table in self.database.tables if table.label])

    def link(self, named_child: bool = False) -> Link | None:
        """A foreign key to a table whose rows have names; of named children where that is asked."""
        links = [link for link in self.database.links if link.child.label or not named_child]
        return self.rng.choice(links) if links else None

    def column(self, table: Table, *roles: str) -> Column | None:
        columns = table.with_roles(*roles)
        return self.rng.choice(columns) if columns else None

    def nouns(self, table: Table) -> dict[str, str | None]:
        return {"one": self.rng.choice(table.one), "many": self.rng.choice(table.many)}

    def shown(self, columns: list[Column]) -> dict[str, str | None]:
        ones = [say_one(column, self.rng) for column in columns]
        manys = [say_many(column, self.rng) for column in columns]
        return {"shown": " and ".join(manys), "shown_one": " and ".join(ones)}

    def restricted(self, condition: Condition) -> dict[str, str | None]:
        return {"cond": condition.say(self.rng), "pred": condition.say_predicate(self.rng)}

    def shown_column(self, table: Table, without: Column | None = None) -> Column | None:
        """Mostly the name of the row; sometimes, or where it has none, another column."""
        if table.label and self.rng.random() < 0.7:
            return table.label
        roles = ("kind", "text", "number", "year", "date", "label")
        columns = [column for column in table.with_roles(*roles) if column != without]
        return self.rng.choice(columns) if columns else None

    def naming(
        self, table: Table, column: Column, words: dict[str, str | None]
    ) -> dict[str, str | None]:
        """Keep the wordings that ask "which books ..." for queries that answer with the name."""
        if column != table.label:
            words["pred"] = None
        words["named"] = "" if column == table.label else None
        return words
