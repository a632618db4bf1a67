"""Ingest under fire: killed, paused, cut, set back, and no difference in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from tests.helpers import embedded

from millrace.chaos import campaign
from millrace.stack.stack import Stack


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A data stack of its own: what happens here must be in no other test's way."""
    home: Path = tmp_path_factory.mktemp("arena")
    with embedded.running(home, with_airflow=False, **campaign.ENVIRONMENT) as started:
        yield started


@pytest.mark.timeout(1500)
def test_workers_and_servers_under_fire(arena: Stack) -> None:
    outcome = campaign.run(arena, count=25, seed=4, rate=1000)
    for report in outcome.reports:
        report.print(Console())
    assert len(outcome.struck) == 25
    assert outcome.messages > 0
    checks = [check for report in outcome.reports for check in report.checks]
    assert "rollup of a minute equals its events" in {check.name for check in checks}
    assert [check.skipped for check in checks if check.skipped] == []
    assert outcome.differences == 0
