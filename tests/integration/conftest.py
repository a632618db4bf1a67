"""Fixtures of the integration tests."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.helpers import comparisons, own_warehouse
from tests.integration.exports_bed import exporting
from tests.integration.quality_bed import Warehouse
from tests.integration.query_cache_bed import HOUR, NOON, ROLLUP, SPARE, VIEW, frozen_redis
from tests.integration.transform_bed import TODAY, Bench, deploy_untested

from millrace import waiting
from millrace.access import tokens
from millrace.api.query.app import create
from millrace.exports.writer import Exporter
from millrace.lab import engines
from millrace.lab.engines import Engine
from millrace.settings import PORTS, Settings
from millrace.stack.stack import Stack
from millrace.stores import cache, clickhouse, postgres
from millrace.transform import project

FAULTY = ("test_ingest_outages", "test_ingest_recovery", "test_ingest_handover", "test_disasters")
"""Modules whose servers are frozen, killed and lied about: nothing may be asked of them besides."""


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A ClickHouse server without the rest of the stack; each test makes tables of its own."""
    with engines.running(tmp_path_factory.mktemp("clickhouse") / "server") as started:
        for database in ("millrace", "analytics"):
            started.text(f"CREATE DATABASE {database}", database="default")
        yield started


@pytest.fixture(scope="module", autouse=True)
def watch(request: pytest.FixtureRequest) -> Iterator[comparisons.Watch | None]:
    """Look at every statement that a module sends to the stack's ClickHouse."""
    if request.module.__name__.rpartition(".")[2] in FAULTY:
        yield None
        return

    def port() -> int:
        return int(os.environ.get("MILLRACE_PORT_BASE", "0")) + PORTS["clickhouse"]

    with comparisons.watched(port) as watch:
        yield watch


@pytest.fixture(autouse=True)
def no_rows_are_missed(watch: comparisons.Watch | None) -> Iterator[None]:
    """Fail a test one of whose statements compares a DateTime64 with a DateTime."""
    yield
    if watch:
        found, watch.found = watch.found, []
        assert not found, "rows of the last second before the bound can be missed"


@pytest.fixture(scope="module")
def exporter(settings: Settings) -> Iterator[Exporter]:
    """An exporter for tables that keep events of any age."""
    with exporting(settings) as running:
        yield running


@pytest.fixture(scope="module")
def own_settings(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """A warehouse and a ledger for audits, apart from what other tests use."""
    with own_warehouse.own(settings, tmp_path_factory.mktemp("quality"), "quality_test") as made:
        yield made


@pytest.fixture
def warehouse(own_settings: Settings) -> Iterator[Warehouse]:
    """Writes what is audited; empty at first."""
    made = Warehouse(own_settings)
    yield made
    made.empty()
    made.client.close()


@pytest.fixture(scope="module")
def bench(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A deployed dbt project on an empty warehouse, apart from what other tests use."""
    home = tmp_path_factory.mktemp("transform")
    with own_warehouse.own(settings, home, "transform_test") as own:
        bench = Bench(own)
        bench.publish(bench.make(2_000, TODAY - timedelta(days=2), TODAY - timedelta(days=1)))
        deploy_untested(own)
        yield bench
        bench.client.close()


@pytest.fixture(scope="module")
def api(bench: Bench) -> Iterator[TestClient]:
    """The query API on the bench's warehouse, asked by an analyst."""
    with postgres.connect(bench.settings) as connection:
        token = tokens.add(connection, tokens.NewToken("numbers", "analyst"))
    headers = {"authorization": f"Bearer {token}"}
    with TestClient(create(bench.settings), headers=headers) as client:
        ready = lambda: client.get("/v1/metrics?name=events").is_success  # noqa: E731
        waiting.until(ready, "the API to know its metrics", seconds=60)
        yield client


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """Return the dbt project with a text in one of its files replaced."""

    def change(file: str, old: str, new: str) -> Path:
        copy = tmp_path / "dbt"
        if not copy.exists():
            shutil.copytree(project.SOURCE, copy)
        path = copy / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return copy

    return change


@pytest.fixture
def rollup(settings: Settings) -> Iterator[Settings]:
    """A rollup by the hour with rows of one day, a view of it, and an empty table like it."""
    client = clickhouse.connect(settings)
    client.command("CREATE DATABASE IF NOT EXISTS analytics")
    columns = "(window_start DateTime('UTC'), page String, n UInt64)"
    for table in (ROLLUP, SPARE):
        client.command(
            f"CREATE OR REPLACE TABLE {table} {columns} ENGINE = SummingMergeTree "
            "PARTITION BY toDate(window_start) ORDER BY (window_start, page)"
        )
    client.command(f"CREATE OR REPLACE VIEW {VIEW} AS SELECT * FROM {ROLLUP}")
    for hours in range(6):
        client.insert(ROLLUP, [[NOON - hours * HOUR, "/", 1], [NOON, "/", 1]])
    cache.connect(settings).flushall()
    yield settings
    for what in (f"VIEW {VIEW}", f"TABLE {ROLLUP} SYNC", f"TABLE {SPARE} SYNC"):
        client.command(f"DROP {what}")


@pytest.fixture
def frozen(stack: Stack) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """A moment in which Redis does not answer."""
    return partial(frozen_redis, stack.settings)
