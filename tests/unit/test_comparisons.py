"""What the integration tests look for in every statement is found, and nothing else is."""

from __future__ import annotations

import pytest
from chdb import _chdb

from tests.helpers.comparisons import mixed, query_of


@pytest.fixture(scope="module")
def explain():
    connection = _chdb.connect(":memory:")

    def run(statement: str) -> str:
        return bytes(connection.query(statement, "TSVRaw").bytes()).decode()

    run("CREATE DATABASE bounds")
    run(
        "CREATE TABLE bounds.t (at DateTime64(3, 'UTC'), start DateTime('UTC'), day Date, n UInt8)"
        " ENGINE = MergeTree ORDER BY (n, at)"
    )
    yield lambda query: mixed(run(f"EXPLAIN QUERY TREE {query}"))
    connection.close()


@pytest.mark.parametrize(
    "condition",
    [
        "at < toDateTime('2026-11-25 13:00:00', 'UTC')",
        "toDateTime('2026-11-25 13:00:00', 'UTC') > at",
        "NOT (at >= now() - INTERVAL 1 HOUR)",
        "at BETWEEN toStartOfHour(now64(3)) AND now64(3)",
        "at < 1795611600",
        "at = (SELECT max(start) FROM bounds.t)",
        "n IN (SELECT n FROM bounds.t AS x WHERE x.at > CAST('2026-11-25', 'Nullable(DateTime)'))",
        "at > start",
    ],
)
def test_a_bound_without_milliseconds_is_found(explain, condition):
    assert explain(f"SELECT count() FROM bounds.t WHERE {condition}")


@pytest.mark.parametrize(
    "condition",
    [
        "at < toDateTime64('2026-11-25 13:00:00', 3, 'UTC') AND at > now64() - INTERVAL 1 HOUR",
        "at < '2026-11-25 13:00:00'",
        "toStartOfHour(at) = toDateTime('2026-11-25 13:00:00', 'UTC') AND toDate(at) = today()",
        "start < toDateTime64('2026-11-25 13:00:00', 3, 'UTC') AND start > now()",
        "at >= today() - 3 AND day < now64()",
        "n < 5",
    ],
)
def test_other_comparisons_are_not(explain, condition):
    assert explain(f"SELECT count() FROM bounds.t WHERE {condition}") == []


@pytest.mark.parametrize(
    ("statement", "query"),
    [
        ("-- why\nSELECT 1", "SELECT 1"),
        ("INSERT INTO t (a)\nSELECT ')'\nFROM x", "SELECT ')'\nFROM x"),
        ("CREATE VIEW v AS (\nWITH a AS (SELECT 1)\nSELECT * FROM a\n)\nCOMMENT ''",
         "WITH a AS (SELECT 1)\nSELECT * FROM a\n"),
        ("CREATE VIEW v AS\nSELECT 1\nCOMMENT 'x'", "SELECT 1\n"),
        ("DELETE FROM t WHERE a < 1", "SELECT 1 FROM t WHERE a < 1"),
        ("ALTER TABLE t DELETE WHERE a < 1", "SELECT 1 FROM t WHERE a < 1"),
        ("INSERT INTO t FORMAT Native", ""),
        ("CREATE TABLE t (a Int8) ENGINE = Memory", ""),
    ],
)  # fmt: skip
def test_the_query_within_a_statement(statement, query):
    assert query_of(statement).strip() == query.strip()
