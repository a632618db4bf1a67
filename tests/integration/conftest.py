"""Fixtures of the integration tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.helpers import comparisons
from tests.helpers import engine as engines

from millrace.settings import PORTS

FAULTY = ("test_ingest_outages", "test_ingest_recovery", "test_ingest_handover", "test_disasters")
"""Modules whose servers are frozen, killed and lied about: nothing may be asked of them besides."""

USERS = """
[users.reader]
password = "reads"
readonly = 2

[users.dashboard]
password_sha256 = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
readonly = 1
row_filters = { "default.visits" = "country = 'US'" }

[users.tuned]
settings = { max_result_rows = "10" }
"""


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Engine]:
    """An engine without the rest of the stack; each test makes tables of its own."""
    with engines.running(
        tmp_path_factory.mktemp("engine"), "--max-concurrent", "4", "--max-queued", "4", users=USERS
    ) as started:
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
