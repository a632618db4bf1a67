"""Names, values, clauses and errors as the stores' thin clients hand them on."""

from __future__ import annotations

import pytest

from millrace.contract import locks
from millrace.stores import quoting
from millrace.stores.errors import first_line, name, plain


@pytest.mark.parametrize(
    ("value", "sql"),
    [
        ("it's", r"'it\'s'"),
        ("a\\", r"'a\\'"),
        ("two\nlines", r"'two\nlines'"),
        ("nul\0", r"'nul\0'"),
        (True, "'true'"),
        (12, "12"),
        (1.5, "1.5"),
    ],
)
def test_values_as_literals(value: object, sql: str) -> None:
    assert quoting.literal(value) == sql


@pytest.mark.parametrize(
    ("path", "sql"),
    [
        (("events",), "`events`"),
        (("analytics", "metrics_1h"), "`analytics`.`metrics_1h`"),
        (("a`; DROP TABLE b",), r"`a\`; DROP TABLE b`"),
        (("a\\",), r"`a\\`"),
    ],
)
def test_names_as_identifiers(path: tuple[str, ...], sql: str) -> None:
    assert quoting.identifier(*path) == sql


def test_ddl_reaches_the_cluster_that_is_named() -> None:
    assert quoting.on_cluster("main") == "ON CLUSTER main"
    assert quoting.on_cluster("") == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("  first\nsecond"), "first"),
        (ValueError("a\0b"), "ab"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_the_first_line_of_an_error(error: Exception, line: str) -> None:
    assert first_line(error) == line


GONE = "Unknown table expression identifier 'nosuch' in scope SELECT 1. (UNKNOWN_TABLE)"
VERSION = " (version 26.9.1.1 (official build))"


@pytest.mark.parametrize(
    "text",
    [
        f"Code: 60. DB::Exception: {GONE} (version 26.9.1.1)\n",
        f"Code: 60. DB::Exception: {GONE}{VERSION}",
        f"Code: 60. DB::Exception: Received from other:9000. DB::Exception: {GONE}{VERSION}",
        f"Code: 60. DB::Exception: {GONE}, Stack trace (when copying this):\n\n0. x(){VERSION}",
        f"Received ClickHouse exception, code: 60, server response: Code: 60. DB::Exception: {GONE}"
        f"{VERSION} (for url http://127.0.0.1:18081)",
    ],
)
def test_what_clickhouse_said_is_told_plainly(text: str) -> None:
    assert (plain(text), name(plain(text)), first_line(text)) == (GONE, "UNKNOWN_TABLE", GONE)


def test_what_others_said_is_left_as_it_is() -> None:
    said = "no such file (version 2), Stack trace: none"
    assert (plain(f" {said} "), name(said)) == (said, "")


def test_a_lock_is_numbered_by_the_documented_hash() -> None:
    # printf %s millrace.publication | sha256sum
    assert locks.key(locks.PUBLICATION) == 0x7DB852F49C761CB7
    assert locks.key(locks.REBUILD, "events", "2026-01-31") != locks.key(locks.REBUILD, "events")
