"""The whole stack that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from millrace.lab import stacks
from millrace.stack.stack import Stack


@pytest.fixture(scope="package")
def airflow_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole stack with Airflow; taken down at once, so that other tests have the machine."""
    home = tmp_path_factory.mktemp("airflow")
    short = {"MILLRACE_INGEST_RUN_SECONDS": "15"}  # so that runs of ingest_events end
    with stacks.running(home, with_airflow=True, **short) as started:
        yield started
