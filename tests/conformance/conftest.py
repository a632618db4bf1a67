"""Fixtures of the conformance tests: a server with something to read, and something to refuse."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from millrace.lab import engines
from millrace.lab.engines import Engine


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A ClickHouse server with raw events, an input of marts, and a mart."""
    with engines.running(tmp_path_factory.mktemp("conformance") / "server") as started:
        for database in ("millrace", "analytics"):
            started.text(f"CREATE DATABASE {database}", database="default")
        for table in ("millrace.raw_events", "analytics.stg_events"):
            started.text(f"CREATE TABLE {table} (id UInt64) ENGINE = MergeTree ORDER BY id")
        started.text(
            "CREATE TABLE analytics.daily_sessions (day Date, sessions UInt64) "
            "ENGINE = MergeTree ORDER BY day"
        )
        started.text(
            "INSERT INTO analytics.daily_sessions VALUES ('2024-01-01', 40), ('2024-01-02', 2)"
        )
        yield started
