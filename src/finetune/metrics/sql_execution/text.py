"""What can be told from the text of a query without running it."""

from __future__ import annotations

import re
import sqlite3

# What is not closed ends with the text; looking for its end from every place would take n^2.
_QUOTED = r"""
    (?P<quoted>
        '(?:[^']|'')*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z) | `[^`]*(?:`|\Z) | \[[^\]]*(?:\]|\Z)
    )
  | (?P<comment>--[^\n]* | /\*.*?(?:\*/|\Z))
"""
_TOKEN = re.compile(
    _QUOTED
    + r"""
  | (?P<word>\w+)
  | (?P<mark><=|>=|<>|!=|==|\|\||\S)
    """,
    re.VERBOSE | re.DOTALL,
)
_REFERENCE = re.compile(
    _QUOTED
    + r"""
  | \bis \s+ (?:not\s+)? distinct \s+ from\b
  | \b(?P<distinct>distinct)\b
  | (?P<torn>[<>!] \s+ =)
  | (?P<year>\byear \s* \( \s* curdate \s* \( \s* \) \s* \))
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_FENCE = re.compile(r"```[ \t]*(?:sql(?:ite)?\b)?(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


def extract(output: str) -> str:
    """The first statement of a model's output: no code fence, no semicolon, on one line.

    Nothing else is repaired. Lines stay apart where a `--` comment would swallow the next one.
    """
    fenced = _FENCE.search(output)
    statement = _first_statement((fenced.group(1) if fenced else output).strip())
    if "--" in statement:
        return statement
    return " ".join(line.strip() for line in statement.splitlines()).strip()


def normalized(query: str) -> str:
    """A query for comparing texts: case, spacing and comments aside, quoted parts kept."""
    return " ".join(text if kind == "quoted" else text.lower() for kind, text in _tokens(query))


def reference_form(query: str, *, keep_distinct: bool = False) -> str:
    """A query as the reference evaluation runs it (taoyds/test-suite-sql-eval).

    Every DISTINCT is left out unless it is to be kept, `> =` becomes `>=`, and MySQL's
    `YEAR(CURDATE())` is the year 2020. Quoted parts and comments stay as they are.
    """

    def rewritten(match: re.Match[str]) -> str:
        if match["distinct"]:
            return match["distinct"] if keep_distinct else ""
        if match["torn"]:
            return match["torn"][0] + "="
        return "2020" if match["year"] else match[0]

    return _REFERENCE.sub(rewritten, query)


def is_ordered(query: str) -> bool:
    """Whether the query itself asks for an order, not only a subquery or window in it."""
    depth, before = 0, ""
    for kind, text in _tokens(query):
        depth += (text == "(") - (text == ")")
        word = text.lower() if kind == "word" else ""
        if depth == 0 and (before, word) == ("order", "by"):
            return True
        before = word
    return False


def first_word(query: str) -> str:
    """The first word in lower case, comments and brackets aside."""
    return next((text.lower() for kind, text in _tokens(query) if kind == "word"), "")


def _first_statement(text: str) -> str:
    for place in (match.start() for match in re.finditer(";", text)):
        # SQLite's own scanner knows a semicolon inside quotes or a comment from one that ends.
        if sqlite3.complete_statement(text[: place + 1]):
            return text[:place]
    return text


def _tokens(query: str) -> list[tuple[str, str]]:
    query = query.strip().rstrip("; \n")
    found = [(match.lastgroup or "", match.group()) for match in _TOKEN.finditer(query)]
    return [(kind, text) for kind, text in found if kind != "comment"]
