"""Fixtures that every test may use: real servers, started once per process, on ports of their own.

``stack`` is the data stack (PostgreSQL, Redis, Kafka, S3, ClickHouse), migrated, with topics and
buckets; ``settings`` are its settings. It starts when a test first asks, and is always taken down.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest

from millrace.access import roles, tokens
from millrace.lab import stacks
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import postgres
from tests.helpers.wait import until


def pytest_configure(config: pytest.Config) -> None:
    """Point ``Settings()`` away from the developer's own stack, whatever a test imports."""
    for name in [name for name in os.environ if name.startswith(("MILLRACE_", "AIRFLOW"))]:
        del os.environ[name]
    os.environ["MILLRACE_HOME"] = "/nonexistent/a-test-must-ask-for-the-fixture-settings"
    # Dozens of tests wait until what they wrote last is in the archive.
    os.environ["MILLRACE_BACKUP_LOG_SECONDS"] = "1"
    # Kafka starts dozens of times and lives for minutes: optimising it takes longer than it saves.
    os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file in one process, and those that share a whole stack."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = "tests/integration/whole/"
            return folder if nodeid.startswith(folder) else super()._split_scope(nodeid)

    return Scheduling(config, log)


# How fast an example runs is the machine's affair; in CI the same examples are tried every time, so
# that a failure is the change's and can be repeated. `./millrace test --unit` tries fewer.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=20)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The data stack, without Airflow; ``Settings()`` resolves to it from here on."""
    with stacks.running(tmp_path_factory.mktemp("stack"), with_airflow=False) as started:
        os.environ["MILLRACE_HOME"] = str(started.settings.home)
        os.environ["MILLRACE_PORT_BASE"] = str(started.settings.port_base)
        _number_sources_in_a_circle(started.settings)
        yield started


def _number_sources_in_a_circle(settings: Settings) -> None:
    """Let tests make more sources than the 255 that a ledger numbers; few are used at once."""
    with postgres.connect(settings) as connection:
        connection.execute(
            "ALTER TABLE data_sources DROP CONSTRAINT data_sources_source_number_key, "
            "ALTER COLUMN source_number SET MAXVALUE 255 SET CYCLE"
        )


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Settings:
    """The settings of the data stack."""
    return stack.settings


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def ingestion_api(stack: Stack) -> Iterator[str]:
    """The ingestion API on the data stack; its address, as a URL."""
    with_apis = Stack(with_airflow=False, with_apis=True)
    with_apis.configure()
    with_apis.start("ingestion-api")
    with_apis.wait_healthy("ingestion-api", 60)
    yield with_apis.servers["ingestion-api"].addresses["http"]
    with_apis.stop("ingestion-api")


@pytest.fixture(scope="session")
def query_api(stack: Stack) -> Iterator[str]:
    """The query API on the data stack; its address, as a URL."""
    with_apis = Stack(with_airflow=False, with_apis=True)
    with_apis.configure()
    with_apis.start("query-api")
    with_apis.wait_healthy("query-api", 60)
    yield with_apis.servers["query-api"].addresses["http"]
    with_apis.stop("query-api")


@pytest.fixture(scope="session")
def query_clients(query_api: str, settings: Settings) -> Iterator[Mapping[str, httpx.Client]]:
    """A client of the query API for each role, with a token of its own, and ``none`` without."""
    with postgres.connect(settings) as connection, contextlib.ExitStack() as opened:
        clients = {"none": opened.enter_context(httpx.Client(base_url=query_api, timeout=30))}
        for role in roles.ROLES:
            text = tokens.add(connection, tokens.NewToken(f"tests-{role}", role))
            clients[role] = opened.enter_context(
                httpx.Client(
                    base_url=query_api, timeout=30, headers={"Authorization": f"Bearer {text}"}
                )
            )
        until(lambda: clients["admin"].get("/v1/me").is_success, 10)
        yield clients
