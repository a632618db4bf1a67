"""A PostgreSQL elsewhere that lets nobody receive its log is no reason for `up` to stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from millrace.backups import wal
from millrace.lab import stacks
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import postgres
from millrace.usecases import up


@pytest.fixture
def elsewhere(settings: Settings) -> Iterator[dict[str, str]]:
    """Variables with which Millrace enters as a role that may not replicate."""
    url = urlsplit(settings.postgres_url)
    place = url.netloc.rpartition("@")[2]
    with postgres.connect(settings) as connection:
        connection.execute("CREATE ROLE tenant LOGIN PASSWORD 'p@ss'")
        yield {
            "MILLRACE_POSTGRES_URL": f"postgresql://tenant@{place}/millrace",
            "MILLRACE_POSTGRES_PASSWORD": "p@ss",
        }
        connection.execute("DROP ROLE tenant")


def test_up_says_so_and_goes_on(elsewhere: dict[str, str], tmp_path: Path) -> None:
    with stacks.port_base() as base:
        own = {"MILLRACE_HOME": str(tmp_path / "home"), "MILLRACE_PORT_BASE": str(base)}
        with stacks.variables(own | elsewhere):
            stack = Stack()
    (archive,) = [step for step in up.steps(stack) if step.name == "wal_archiver"]
    archive.run()
    (note,) = stack.notes
    assert "REPLICATION" in note
    assert "permission denied" in note or "replication role" in note, note
    assert "./millrace up again" in note
    assert "wal_archiver" not in stack.supervisor.processes()


def test_who_may_replicate_is_not_refused(settings: Settings) -> None:
    assert wal.refusal(settings) == ""
    with postgres.connect(settings) as connection:
        connection.execute("SELECT pg_drop_replication_slot(%s)", [wal.SLOT])
