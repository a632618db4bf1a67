"""The ingestion API under fire: what it acknowledged is there, once, in order."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from millrace.lab import stacks
from millrace.lab.chaos import api

FAULTS = 10
"""One of each kind."""


@pytest.mark.timeout(900)
def test_the_api_and_what_it_depends_on_under_fire(tmp_path: Path) -> None:
    with stacks.running(
        tmp_path, with_airflow=False, with_apis=True, **api.API_ENVIRONMENT
    ) as stack:
        outcome = api.run(stack, count=FAULTS, seed=1, rate=500)
    for report in outcome.reports:
        report.print(Console())
    assert len({one.kind for one in outcome.injections}) == FAULTS
    assert outcome.messages > 1_000
    assert outcome.differences == 0
