"""Fixtures that every test may use: real servers, started once per session, on ports of their own.

``stack`` is the data stack (PostgreSQL, Redis, Kafka, S3, ClickHouse), migrated, with topics and
buckets; ``settings`` are its settings. It starts when a test first asks, and is always taken down.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from millrace.lab import stacks
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import postgres


def pytest_configure(config: pytest.Config) -> None:
    """Point ``Settings()`` away from the developer's own stack, whatever a test imports."""
    for name in [name for name in os.environ if name.startswith(("MILLRACE_", "AIRFLOW"))]:
        del os.environ[name]
    os.environ["MILLRACE_HOME"] = "/nonexistent/a-test-must-ask-for-the-fixture-settings"


# How fast an example runs is the machine's affair; in CI the same examples are tried every time, so
# that a failure is the change's and can be repeated.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
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
