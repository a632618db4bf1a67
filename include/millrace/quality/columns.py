"""What suites ask of a mart, held against the table that is to take its place.

A model whose column is renamed builds and passes its own tests; the expectation that names the
column would say so only once the mart is live, by withholding it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.quality.suites import Suite, fill, load_suites
from millrace.quality.windows import Window, window_at
from millrace.settings import Settings
from millrace.stores import clickhouse, sql
from millrace.stores.errors import first_line
from millrace.stores.quoting import identifier

MISFITS = frozenset({8, 10, 16, 42, 43, 44, 46, 47, 53, 60, 207, 386})
"""ClickHouse's codes where a column, a table or a type is not what a statement takes it for."""

COLUMN_KEYS = frozenset({"column", "column_A", "column_B", "column_list", "column_set"})
"""Where expectations of Great Expectations name columns."""


def misfits(settings: Settings, standing_in: Mapping[str, str]) -> list[str]:
    """Say which expectations would no longer find what they name.

    ``standing_in`` has, for a table such as ``analytics.top_pages``, the one that is to take its
    place. ClickHouse looks at what an expectation asks, as the account ``dbt``; no row is read.
    """
    if not standing_in:
        return []
    names = re.compile(rf"\b({'|'.join(map(re.escape, standing_in))})\b")
    base = clickhouse.database(settings)
    found = []
    with clickhouse.connect(settings, "dbt", database=base) as client:
        for suite in load_suites():
            for asked, statement in _statements(suite, base):
                if not names.search(statement):
                    continue
                meant = names.sub(lambda name: standing_in[name[1]], statement)
                try:
                    client.query(f"DESCRIBE ({meant})")
                except ClickHouseError as error:
                    if getattr(error, "code", None) in MISFITS:
                        found.append(f"{suite.dataset}: {asked}: {first_line(error)}")
    return list(dict.fromkeys(found))


def _statements(suite: Suite, base: str) -> Iterator[tuple[str, str]]:
    """Yield each thing that a suite asks: a sentence, and the statement that asks it."""
    for kind in suite.windows:
        window = window_at(kind, datetime.now(UTC))
        rows = _rows(suite, base, window)
        yield "rows of a window", rows
        for entry in suite.expectations_for(kind):
            if query := entry.get("query"):
                yield entry["description"], fill(query, window).replace("{batch}", f"({rows})")
            elif named := ", ".join(_columns(entry)):
                yield entry["description"], _rows(suite, base, window, columns=named)


def _columns(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield the columns that an expectation of Great Expectations names, quoted."""
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
