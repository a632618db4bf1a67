"""A restore owns ingest's partitions, for as long as it lives and no longer."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta

import pytest
from tests.helpers import wait
from tests.integration.ingest_bed import Bed, event

from millrace.backups.fence import standing_still
from millrace.backups.gateway import BackupError
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import postgres

RESTORE = """
import time
from millrace.backups.fence import standing_still
from millrace.settings import Settings
from millrace.stores import postgres

settings = Settings(ingest_lease_seconds=1)
with postgres.connect(settings) as connection, standing_still(settings, connection) as fence:
    print("stands", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def bed(settings: Settings) -> Bed:
    """A source that was planned, with a message to load."""
    made = Bed(settings.model_copy(update={"ingest_lease_seconds": 1}))
    made.shares()
    made.send([event()])
    return made


def owned_until(bed: Bed) -> datetime:
    """Return the end of the lease of the restore that owns the source's partitions."""
    (row,) = bed.ask(
        "SELECT min(lease_until) AS lease_until, min(owner) AS owner FROM ingest_positions "
        "WHERE source_id = %s",
        bed.name,
    )
    assert row["owner"].startswith("restore/")
    until = row["lease_until"]
    assert isinstance(until, datetime)
    return until


def test_it_prolongs_its_lease_and_makes_it_last(bed: Bed) -> None:
    with (
        postgres.connect(bed.settings) as connection,
        standing_still(bed.settings, connection) as fence,
    ):
        later = owned_until(bed) + timedelta(seconds=1)
        wait.until(lambda: owned_until(bed) > later)
        fence.make_lasting()
        assert owned_until(bed) > later + timedelta(hours=1)
    assert bed.load() == 1


def test_it_replaces_nothing_once_ingest_went_on(bed: Bed) -> None:
    with (
        postgres.connect(bed.settings) as connection,
        standing_still(bed.settings, connection) as fence,
    ):
        bed.ask("UPDATE ingest_positions SET owner = '' WHERE source_id = %s", bed.name)
        with pytest.raises(BackupError, match="ingest went on"):
            fence.make_lasting()
    assert bed.load() == 1


def test_ingest_goes_on_after_one_that_was_killed(bed: Bed, stack: Stack) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RESTORE],
        env={**os.environ, **stack.environment},
        stdout=subprocess.PIPE,
    ) as restoring:
        assert restoring.stdout is not None
        said = restoring.stdout.readline()
        restoring.kill()
    assert said == b"stands\n"
    assert bed.load() == 1
