"""Fixtures of the integration tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.helpers import comparisons

from millrace.lab import engines
from millrace.lab.engines import Engine
from millrace.settings import PORTS

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
