"""What is read from the text of a query: its first statement, its order, its normal form."""

from __future__ import annotations

import pytest

from finetune.metrics.sql_execution.text import extract, is_ordered, normalized, reference_form


@pytest.mark.parametrize(
    ("output", "query"),
    [
        ("SELECT 1", "SELECT 1"),
        (" SELECT 1 ;\n", "SELECT 1"),
        ("SELECT 1; SELECT 2;", "SELECT 1"),
        ("SELECT ';' ; and so on", "SELECT ';'"),
        ("```sql\nSELECT a\nFROM t;\n```", "SELECT a FROM t"),
        ("```SELECT 1```", "SELECT 1"),
        ("Here it is:\n```SQL\nSELECT 1\n```\nIt counts.", "SELECT 1"),
        ("```sql\nSELECT 1", "SELECT 1"),
        ("SELECT a -- why\nFROM t", "SELECT a -- why\nFROM t"),
        ("", ""),
        (";", ""),
    ],
)
def test_the_first_statement_is_taken_without_fence_semicolon_and_line_ends(output, query):
    assert extract(output) == query


def test_nothing_else_of_an_output_is_repaired():
    assert extract("The answer is SELECT 1") == "The answer is SELECT 1"


@pytest.mark.parametrize(
    ("query", "ordered"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("SELECT a FROM t order\n by a LIMIT 1", True),
        ("SELECT a FROM t", False),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a)", False),
        ("SELECT rank() OVER (ORDER BY a) FROM t", False),
        ("SELECT 'ORDER BY' FROM t -- ORDER BY a", False),
        ("SELECT a FROM t UNION SELECT b FROM t ORDER BY 1", True),
    ],
)
def test_a_query_is_ordered_only_by_an_order_by_of_its_own(query, ordered):
    assert is_ordered(query) is ordered


def test_case_spacing_and_comments_do_not_tell_queries_apart_but_literals_do():
    assert normalized("select  COUNT( * ) from T ; ") == normalized("SELECT count(*) FROM t")
    assert normalized("SELECT a /* x */ FROM t") == normalized("SELECT a FROM t")
    assert normalized("SELECT 'A'") != normalized("SELECT 'a'")
    assert normalized("SELECT a") != normalized("SELECT b")


@pytest.mark.parametrize(
    ("query", "form"),
    [
        ("SELECT DISTINCT a FROM t", "SELECT  a FROM t"),
        ("SELECT count(distinct a) FROM t", "SELECT count( a) FROM t"),
        ("SELECT 'DISTINCT', \"> =\" FROM t", "SELECT 'DISTINCT', \"> =\" FROM t"),
        ("SELECT a WHERE a IS NOT DISTINCT FROM b", "SELECT a WHERE a IS NOT DISTINCT FROM b"),
        ("SELECT distinct_a FROM t", "SELECT distinct_a FROM t"),
        (
            "SELECT a WHERE a > = 1 AND b < = 2 AND c ! = 3",
            "SELECT a WHERE a >= 1 AND b <= 2 AND c != 3",
        ),
        ("SELECT YEAR ( CURDATE( ) ) - a FROM t", "SELECT 2020 - a FROM t"),
    ],
)
def test_the_reference_leaves_out_distinct_and_mends_two_spellings(query, form):
    assert reference_form(query) == form


def test_distinct_stays_where_it_is_to_be_kept():
    assert reference_form("SELECT DISTINCT a", keep_distinct=True) == "SELECT DISTINCT a"
