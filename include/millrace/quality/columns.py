"""What suites ask of tables, as statements that ClickHouse can look at without reading a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from millrace.quality.suites import Suite, fill, load_suites
from millrace.quality.windows import Window, window_at
from millrace.settings import Settings
from millrace.stores import clickhouse, sql
from millrace.stores.quoting import identifier

COLUMN_KEYS = frozenset({"column", "column_A", "column_B", "column_list", "column_set"})
"""Where expectations of Great Expectations name columns."""


def asked(settings: Settings) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield each thing that a suite asks: what it is, a statement, and values that it binds."""
    base = clickhouse.database(settings)
    for suite in load_suites():
        # What no audit could make sense of is told by audits.
        with suppress(AttributeError, IndexError, TypeError, ValueError):
            for said, statement in list(_of_suite(suite, base)):
                yield f"expectations of {suite.dataset}: {said}", statement, {}


def _of_suite(suite: Suite, base: str) -> Iterator[tuple[str, str]]:
    # Windows of every kind are asked the same, so that one of each expectation's kinds will do.
    now = datetime.now(UTC)
    yield "rows of a window", _rows(suite, base, window_at(suite.windows[0], now))
    for entry in suite.expectations:
        window = window_at(entry.get("windows", suite.windows)[0], now)
        if query := entry.get("query"):
            batch = f"({_rows(suite, base, window)})"
            yield entry["description"], fill(query, window).replace("{batch}", batch)
        elif named := ", ".join(_columns(entry)):
            yield entry["description"], _rows(suite, base, window, columns=named)


def _columns(entry: Mapping[str, Any]) -> Iterator[str]:
    for key in COLUMN_KEYS & entry.keys():
        named = entry[key]
        for name in [named] if isinstance(named, str) else named:
            yield identifier(name)


def _rows(suite: Suite, base: str, window: Window, **columns: str) -> str:
    return sql.render(
        "clickhouse/quality/window_rows.sql",
        relation=suite.relation_in(base),
        condition=suite.condition(window),
        **columns,
    )
