"""Backups that were cut off, or that PostgreSQL takes for cut off."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from tests.helpers import wait

from millrace import processes
from millrace.backups import (
    archiver,
    catalogue,
    gateway,
    metadata,
    metrics,
    receipts,
    restore,
    retention,
    segments,
    warehouse,
)
from millrace.backups.erasure import Order
from millrace.backups.gateway import METADATA, WAREHOUSE, BackupError
from millrace.contract import locks
from millrace.lab import stacks
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, postgres
from millrace.usecases import drill, erase_person


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stacks.running(tmp_path_factory.mktemp("unfinished"), with_airflow=False) as started:
        for name in ("backup_gateway", "wal_archiver"):
            started.start(name)
        started.wait_healthy("backup_gateway")
        yield started


@pytest.fixture(scope="module")
def settings(stack: Stack) -> Settings:
    return stack.settings


@pytest.mark.parametrize("state", ["running", "failed"])
def test_a_backup_that_is_whole_in_the_bucket_is_never_swept(
    settings: Settings, state: str
) -> None:
    entry = warehouse.back_up(settings, "a test", is_full=True)
    objects = gateway.connect(settings)
    with postgres.connect(settings) as connection:
        # as a restore to a moment within the backup leaves it, or a kill just before its last word
        connection.execute(
            "UPDATE backups SET state = %s, object_count = NULL, byte_count = NULL, "
            "ended_at = NULL WHERE backup_id = %s",
            [state, entry.backup_id],
        )
        if state == "failed":
            retention.expire(settings, datetime.now(UTC))
        after = warehouse.back_up(settings, "a test")
        retention.expire(settings, datetime.now(UTC))
        known = connection.execute(
            "SELECT state FROM backups WHERE backup_id = %s", [entry.backup_id]
        ).fetchone()
    assert after.base_id == entry.backup_id
    catalogue.check_objects(objects, after)
    assert known == {"state": "complete"}


def test_what_is_of_no_backup_goes_when_it_is_old(settings: Settings) -> None:
    objects = gateway.ensure_folders(settings)
    now = datetime.now(UTC)
    young = f"{now:%Y%m%dT%H%M%S}000"
    keys = [
        (bucket, f"{folder}{moment}-{rest}")
        for moment in ("20200101T000000000", young)
        for bucket, folder, rest in (
            (WAREHOUSE, "", "incremental/structure/.backup"),
            (METADATA, f"{metadata.FOLDER}/", "metadata.tar.gz"),
        )
    ]
    entry = warehouse.back_up(settings, "a test", is_full=True)
    base = metadata.back_up(settings, "a test")
    for bucket, key in keys:
        objects.put_object(bucket, key, BytesIO(b"cut"), 3)

    retention.expire(settings, now)

    left = [key for bucket, key in keys if list(objects.list_objects(bucket, key))]
    assert left == [key for _, key in keys if young in key]
    catalogue.check_objects(objects, entry)
    assert metadata.choose(objects) == base
    for bucket, key in keys[2:]:
        objects.remove_object(bucket, key)


def test_a_cut_that_outlived_its_server_is_written_as_it_was_measured(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clickhouse.connect(settings) as client:
        client.command("CREATE DATABASE IF NOT EXISTS analytics")
        client.command(
            "CREATE TABLE analytics.summed (hour DateTime('UTC'), events UInt64) "
            "ENGINE = SummingMergeTree ORDER BY hour"
        )
        client.command("SYSTEM STOP MERGES analytics.summed")
        for _ in range(3):
            client.command("INSERT INTO analytics.summed VALUES ('2026-03-01 07:00:00', 1)")
        original = warehouse.measure

        def die(_client: Client, _table: str) -> tuple[int, int]:
            raise KeyboardInterrupt  # as abrupt as a kill: no clean-up runs

        def merge_after(reader: Client, table: str) -> tuple[int, int]:
            found = original(reader, table)
            if "summed" in table:
                with suppress(DatabaseError):
                    client.command(f"OPTIMIZE TABLE {table} FINAL")
            return found

        monkeypatch.setattr(warehouse, "measure", die)
        with pytest.raises(KeyboardInterrupt):
            warehouse.back_up(settings, "a test", is_full=True)
        client.command("SYSTEM START MERGES")  # as a server that was started again does
        monkeypatch.setattr(warehouse, "measure", merge_after)
        entry = warehouse.back_up(settings, "a test")
        monkeypatch.undo()

        assert [t.rows for t in entry.tables if t.name == "summed"] == [3]
        restore.restore(settings, entry, is_replace=True)
        assert client.command("SELECT sum(events) FROM analytics.summed") == 3
        client.command("DROP TABLE analytics.summed")


def test_no_receipt_takes_the_place_of_one_that_postgresql_lacks(settings: Settings) -> None:
    lost = Order(9_000, 41, "a test", "asked for it", datetime.now(UTC))
    receipts.keep(settings, [lost])
    with pytest.raises(BackupError, match=r"lacks the erasures 9000.*backups catch-up"):
        erase_person.erase(settings, 42, "a test", "asked for it")
    with postgres.connect(settings) as connection:
        assert receipts.known(connection) == []
    objects = gateway.connect(settings)
    assert receipts.read(objects) == [lost]
    for item in objects.list_objects(METADATA, receipts.FOLDER, recursive=True):
        objects.remove_object(METADATA, item.object_name)


def test_a_second_drill_leaves_the_first_alone(settings: Settings) -> None:
    servers = settings.home / "drill" / "postgres"
    servers.mkdir(parents=True)
    query = "SELECT count(*) AS n FROM restore_drills"
    with postgres.connect(settings) as connection:
        (before,) = connection.execute(query).fetchall()
        busy = AssertionError("nobody drills")
        with (
            locks.at_once(connection, locks.DRILL, error=busy),
            pytest.raises(BackupError, match="another drill is running"),
        ):
            drill.run(settings)
        assert connection.execute(query).fetchall() == [before]
    assert servers.exists()
    shutil.rmtree(servers.parent)


def test_a_drill_that_is_killed_leaves_no_server(stack: Stack, settings: Settings) -> None:
    warehouse.back_up(settings, "a test", is_full=True)
    metadata.back_up(settings, "a test")
    metrics.succeeded(settings, "wal")  # a drill looks for it first
    folder = settings.home / "drill"
    command = [sys.executable, "-m", "millrace.cli", "backups", "drill"]
    servers: dict[str, psutil.Process] = {}

    def run() -> bool:
        for one in processes.working_in([folder]):
            with suppress(psutil.NoSuchProcess):  # it has ended meanwhile, as copies of files do
                servers[Path(one.cwd()).name] = one
        return {"clickhouse", "postgres"} <= servers.keys()

    with subprocess.Popen(command, env={**os.environ, **stack.environment}) as drilling:
        try:
            wait.until(run, 120)
        finally:
            drilling.kill()
    _gone, left = psutil.wait_procs(servers.values(), timeout=60)
    assert processes.kill(left) == []
    assert left == []
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"backup_id": "x"}'])
def test_a_damaged_description_is_named_with_what_to_do(settings: Settings, damage: bytes) -> None:
    objects = gateway.ensure_folders(settings)
    for bucket, folder, read in (
        (METADATA, metadata.FOLDER, lambda: metadata.choose(objects)),
        (WAREHOUSE, catalogue.FOLDER, lambda: catalogue.choose(objects)),
    ):
        key = f"{folder}/99990101T000000000-full.json"
        objects.put_object(bucket, key, BytesIO(damage), len(damage))
        with pytest.raises(BackupError, match=r"is damaged .*from the second bucket"):
            read()
        objects.remove_object(bucket, key)


def test_a_segment_that_is_finished_while_it_is_sent_stops_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    shipping = archiver.Archiver(settings.model_copy(update={"home": tmp_path}))
    shipping.spool.mkdir(parents=True)
    partial = shipping.spool / "0000000100000000000000FE.partial"
    partial.symlink_to(tmp_path / "renamed")
    shipping.ship()
    key = f"{segments.FOLDER}/{partial.name}"
    assert not list(gateway.connect(settings).list_objects(METADATA, key))
