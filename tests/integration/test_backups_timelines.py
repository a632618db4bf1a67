"""PostgreSQL is restored to moments before, between and after earlier restores."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from millrace.backups import gateway, metadata, wal
from millrace.backups.gateway import BackupError
from millrace.lab import stacks
from millrace.lab.chaos import disaster
from millrace.stack.stack import Stack
from millrace.stores import postgres


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("timelines")
    with stacks.running(home, with_airflow=False) as started:
        for name in ("backup_gateway", "wal_archiver"):
            started.start(name)
            started.wait_healthy(name)
        yield started


def write(stack: Stack, name: str) -> datetime:
    """Commit a row, and return a moment at which it was the newest."""
    with postgres.connect(stack.settings) as connection:
        connection.execute("INSERT INTO event_types VALUES (%s, 'a test')", [name])
        now = connection.execute("SELECT clock_timestamp() AS now").fetchall()[0]["now"]
    assert isinstance(now, datetime)
    return now


def written(stack: Stack) -> list[str]:
    query = "SELECT event_type FROM event_types WHERE description = 'a test' ORDER BY event_type"
    with postgres.connect(stack.settings) as connection:
        return [row["event_type"] for row in connection.execute(query)]


def restore(stack: Stack, moment: datetime | None = None) -> str:
    """Restore with the documented command, and return what it said."""
    to = ["--to", moment.isoformat()] if moment else []
    return disaster.millrace(stack.settings, "restore", "--only", "metadata", "--replace", *to)


@pytest.mark.timeout(400)
def test_each_moment_has_the_state_of_its_own_time(stack: Stack) -> None:
    settings = stack.settings
    metadata.back_up(settings, "a test")
    moments = {name: write(stack, name) for name in ("a", "b", "c")}
    second = metadata.back_up(settings, "a test")  # on the timeline that is about to be left
    moments["d"] = write(stack, "d")

    assert moments["a"].strftime("%H:%M:%S") in restore(stack, moments["a"])
    assert written(stack) == ["a"]
    moments["e"] = write(stack, "e")
    wal.await_archived(settings)

    # Too far back: what was there before the first restore is still in the archive.
    restore(stack, moments["c"])
    assert written(stack) == ["a", "b", "c"]
    restore(stack, moments["d"])
    assert written(stack) == ["a", "b", "c", "d"]
    # The second base backup lies beyond the branch, so the first one leads here.
    restore(stack, moments["e"])
    assert written(stack) == ["a", "e"]
    assert metadata.choose(gateway.connect(settings), moments["d"]) == second

    write(stack, "f")
    restore(stack)
    assert written(stack) == ["a", "e", "f"]


@pytest.mark.timeout(300)
def test_a_moment_beyond_the_archive_is_said(stack: Stack) -> None:
    settings = stack.settings
    write(stack, "last")
    wal.await_archived(settings)
    stack.stop("wal_archiver")
    stack.stop("postgres")
    late = datetime.now(UTC)
    said = restore(stack, late)
    assert "the archived log ends before the moment asked for" in said
    assert "last" in written(stack)
    with pytest.raises(BackupError, match="still to come"):
        metadata.choose(gateway.connect(settings), datetime(2999, 1, 1, tzinfo=UTC))


@pytest.mark.timeout(300)
def test_a_restore_that_fails_leaves_the_cluster_as_it_was(stack: Stack) -> None:
    settings = stack.settings
    write(stack, "kept")
    before = written(stack)
    base = metadata.choose(gateway.connect(settings))
    folder = settings.home / "s3" / settings.s3_backup_bucket / "metadata" / metadata.FOLDER
    path = folder / f"{base.backup_id}.tar.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        with pytest.raises(RuntimeError, match="use an older one"):
            restore(stack)
    finally:
        path.write_bytes(whole)
    assert written(stack) == before
