"""PostgreSQL's log reaches the bucket, whatever becomes of the archiver, the disk or the slot."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import DictRow
from tests.helpers import wait

from millrace import processes
from millrace.backups import gateway, metadata, segments, wal
from millrace.backups.gateway import METADATA, BackupError
from millrace.lab import stacks
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, postgres


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stacks.running(tmp_path_factory.mktemp("log"), with_airflow=False) as started:
        for name in ("backup_gateway", "wal_archiver"):
            started.start(name)
        yield started


def test_the_archiver_goes_on_after_a_kill(stack: Stack) -> None:
    settings = stack.settings
    stack.wait_healthy("wal_archiver")
    stack.stop("wal_archiver")
    with pytest.raises(BackupError, match="not received"):
        stack.check("wal_archiver")
    stack.start("wal_archiver")
    stack.wait_healthy("wal_archiver")
    os.kill(stack.pid("wal_archiver"), signal.SIGKILL)
    with postgres.connect(settings) as connection:
        connection.execute("SELECT pg_switch_wal()")
        connection.execute("INSERT INTO event_types VALUES ('killed', 'a test')")
        wanted = connection.execute("SELECT pg_current_wal_flush_lsn() AS lsn").fetchone()["lsn"]
        query = "SELECT archived_lsn >= %s::pg_lsn AS is_there FROM wal_archive"
        wait.until(lambda: connection.execute(query, [wanted]).fetchone()["is_there"], timeout=90)
    found = gateway.connect(settings).list_objects(METADATA, f"{segments.FOLDER}/", recursive=True)
    assert any(item.object_name.endswith(".partial.gz") for item in found)


def test_the_archiver_goes_on_after_a_full_disk(stack: Stack) -> None:
    """A receiver that has no room for a new file leaves the beginning of one, and ends."""
    stack.wait_healthy("wal_archiver")
    stack.stop("wal_archiver")
    (unfinished,) = (stack.settings.home / "wal").glob("*.partial")
    os.truncate(unfinished, 1 << 20)
    with postgres.connect(stack.settings) as connection:
        connection.execute("INSERT INTO event_types VALUES ('there was room', 'a test')")
    stack.start("wal_archiver")
    wal.await_archived(stack.settings)


def test_the_log_is_kept_before_the_first_has_received_it(stack: Stack) -> None:
    """The first checkpoint would remove what the receiver is about to ask for, and for ever."""
    settings = stack.settings
    stack.wait_healthy("wal_archiver")
    stack.stop("wal_archiver")
    with postgres.connect(settings) as connection:
        connection.execute("SELECT pg_drop_replication_slot(%s)", [wal.SLOT])
        assert wal.refusal(settings) == ""
        query = "SELECT pg_walfile_name(restart_lsn) AS name FROM pg_replication_slots"
        (kept,) = connection.execute(query).fetchall()
        move_on(connection)
        files = {row["name"] for row in connection.execute("SELECT name FROM pg_ls_waldir()")}
    assert kept["name"] in files
    stack.start("wal_archiver")
    wal.await_archived(settings)


def move_on(connection: psycopg.Connection[DictRow]) -> None:
    """Have PostgreSQL remove every segment of its log that no slot keeps."""
    for _ in range(3):
        connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")
    connection.execute(
        "INSERT INTO event_types VALUES ('moved on', 'a test') ON CONFLICT DO NOTHING"
    )


@pytest.mark.parametrize("is_slot_left", [True, False])
def test_the_archiver_goes_on_where_the_log_was_not_kept(stack: Stack, is_slot_left: bool) -> None:
    """The slot was dropped by hand, or fell behind what the server keeps for one."""
    settings = stack.settings
    stack.wait_healthy("wal_archiver")
    stack.stop("wal_archiver")
    with postgres.connect(settings) as connection:
        connection.execute("SELECT pg_drop_replication_slot(%s)", [wal.SLOT])
        if is_slot_left:
            connection.execute("SELECT pg_create_physical_replication_slot(%s)", [wal.SLOT])
        move_on(connection)
    began = time.time()
    stack.start("wal_archiver")
    wal.await_archived(settings)
    assert "which was not received: what it held" in stack.tail("wal_archiver")
    with postgres.connect(settings) as connection:
        connection.execute("SELECT pg_switch_wal()")
    wal.await_archived(settings)
    assert told_whole(settings) < began, "the alert on the archive is kept from firing"
    metadata.back_up(settings, "a test")
    wait.until(lambda: told_whole(settings) > began, timeout=60)


def told_whole(settings: Settings) -> float:
    """Return up to which moment the metric says that the archived log is whole."""
    with clickhouse.connect(settings, "backup") as client:
        rows = client.query(
            "SELECT max(value) FROM pipeline_metrics WHERE dimensions['kind'] = 'wal' "
            "AND metric_name = 'millrace_backup_last_success_timestamp_seconds'"
        ).result_rows
    return float(rows[0][0])


def test_a_log_that_does_not_arrive_says_how_far_it_has_come(stack: Stack) -> None:
    stack.wait_healthy("wal_archiver")
    stack.stop("wal_archiver")
    with postgres.connect(stack.settings) as connection:
        connection.execute("INSERT INTO event_types VALUES ('kept back', 'a test')")
    with pytest.raises(
        BackupError, match=r"receiver has it to \w+/\w+ \(no receiver\), the bucket"
    ):
        wal.await_archived(stack.settings, 1)
    stack.start("wal_archiver")
    wal.await_archived(stack.settings)


def test_the_log_of_a_restored_cluster_has_no_hole(stack: Stack, tmp_path: Path) -> None:
    """What it writes before it serves is in the archive, also where that ends a segment."""
    settings, data = stack.settings, tmp_path / "data"
    stack.wait_healthy("wal_archiver")
    metadata.restore(settings, data, metadata.back_up(settings, "a test"))
    own: list[str] = []

    def write(recovered: psycopg.Connection[DictRow]) -> None:
        for _ in range(2):
            name = "SELECT pg_walfile_name(pg_current_wal_lsn()) AS name"
            own.append(recovered.execute(name).fetchall()[0]["name"])
            recovered.execute("SELECT txid_current(), pg_switch_wal()")

    metadata.recover(settings, data, processes.free_port(), tmp_path / "log", write)
    wal.send_beginning(settings, data)
    found = gateway.connect(settings).list_objects(METADATA, f"{segments.FOLDER}/{own[0][:8]}")
    names = {item.object_name.removeprefix(f"{segments.FOLDER}/") for item in found}
    assert {f"{name}.gz" for name in own} < names
    assert [name for name in names if name.endswith(".partial.gz")] == [f"{max(names)}"]
