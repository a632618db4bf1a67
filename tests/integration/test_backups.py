"""Backups, on real servers: taken, damaged, restored and compared."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr
from tests.helpers import full_store, wait

from millrace import processes
from millrace.backups import catalogue, gateway, metadata, restore, retention, warehouse
from millrace.backups.gateway import METADATA, WAREHOUSE, BackupError
from millrace.lab import stacks
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, postgres
from millrace.stores import objects as store


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, since these tests destroy it."""
    with stacks.running(tmp_path_factory.mktemp("backups"), with_airflow=False) as started:
        for name in ("backup_gateway", "wal_archiver"):
            started.start(name)
        started.wait_healthy("backup_gateway")
        yield started


@pytest.fixture(scope="module")
def settings(stack: Stack) -> Settings:
    return stack.settings


def add_events(settings: Settings, rows: int) -> None:
    with clickhouse.connect(settings) as client:
        client.command(
            "INSERT INTO events (event_id, event_time, event_type, user_id, properties, "
            "ingested_at, topic, offset) SELECT generateUUIDv4(), now64(3) - number % 1000, "
            "'page_view', number % 50 + 1, map('n', toString(number)), now64(3), 'events', number "
            f"FROM numbers({rows})"
        )


def count(settings: Settings, table: str = "events") -> int:
    with clickhouse.connect(settings) as client:
        return int(client.command(f"SELECT count() FROM {table}"))


def stored(stack: Stack, backup_id: str) -> list[Path]:
    """Return the encrypted objects of a backup where the embedded store keeps them."""
    folder = stack.settings.home / "s3" / stack.settings.s3_backup_bucket / WAREHOUSE / backup_id
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def gateway_of(stack: Stack, **changes: str) -> Iterator[Settings]:
    """Run one more gateway with some settings changed; give the settings that go with it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    changes["backup_endpoint"] = f"http://127.0.0.1:{port}"
    variables = {f"MILLRACE_{name.upper()}": value for name, value in changes.items()}
    with stacks.variables({"MILLRACE_HOME": str(stack.settings.home), **variables}):
        settings = Settings(port_base=stack.settings.port_base)
        command = [sys.executable, "-m", "millrace.cli", "backups", "gateway"]
        process = subprocess.Popen(command, env={**os.environ, **stack.environment, **variables})

    def serves() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait.until(serves)
        yield settings
    finally:
        process.terminate()
        process.wait()


def test_an_increment_holds_what_changed_and_comes_back_whole(stack: Stack) -> None:
    settings = stack.settings
    before = count(settings)
    add_events(settings, 20_000)
    full = warehouse.back_up(settings, "a test", is_full=True)
    add_events(settings, 500)
    increment = warehouse.back_up(settings, "a test")
    assert (full.kind, increment.kind) == ("full", "incremental")
    assert increment.base_id == full.backup_id
    assert increment.byte_count < full.byte_count / 2
    events = next(table for table in increment.tables if table.name == "events")
    assert events.rows == before + 20_500

    add_events(settings, 100)  # after the backup, so not in it
    with pytest.raises(BackupError, match="holds rows"):
        restore.restore(settings, increment)
    assert "WARNING" in restore.plan(settings, increment)[-1]
    done = restore.restore(settings, increment, is_replace=True)
    assert done.rows == increment.rows
    assert count(settings) == before + 20_500
    clickhouse.migrate(settings)


def test_nothing_readable_is_in_the_bucket(stack: Stack) -> None:
    entry = catalogue.choose(gateway.connect(stack.settings))
    for path in stored(stack, entry.backup_id):
        assert path.read_bytes().startswith(b"RCLONE\x00\x00"), path
    key = stack.settings.backup_key.get_secret_value()
    everything = stack.settings.home / "s3" / stack.settings.s3_backup_bucket
    found = subprocess.run(["grep", "-rlF", key, everything], capture_output=True, check=False)
    assert found.returncode == 1


def test_a_corrupted_object_is_found_on_restore(stack: Stack) -> None:
    settings = stack.settings
    entry = warehouse.back_up(settings, "a test", is_full=True)
    victim = max(stored(stack, entry.backup_id), key=lambda path: path.stat().st_size)
    whole = victim.read_bytes()
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 0xFF
    victim.write_bytes(damaged)
    with pytest.raises(BackupError, match="failed"):
        restore.restore(settings, entry, is_replace=True)
    victim.write_bytes(whole)
    restore.restore(settings, entry, is_replace=True)


def test_a_missing_increment_is_named_and_nothing_stands_on_it(stack: Stack) -> None:
    settings = stack.settings
    base = warehouse.back_up(settings, "a test", is_full=True)
    middle = warehouse.back_up(settings, "a test")
    last = warehouse.back_up(settings, "a test")
    assert last.base_id == middle.backup_id
    objects = gateway.connect(settings)
    with catalogue.alone(settings) as connection, pytest.raises(BackupError, match="stand on it"):
        retention.delete(connection, objects, middle.backup_id)
    bucket = store.connect(settings)
    prefix = f"{WAREHOUSE}/{middle.backup_id}/"
    (victim, *_) = bucket.list_objects(settings.s3_backup_bucket, prefix, recursive=True)
    data = bucket.get_object(settings.s3_backup_bucket, victim.object_name).read()
    bucket.remove_object(settings.s3_backup_bucket, victim.object_name)
    wait.until(lambda: catalogue.measure(objects, f"{middle.backup_id}/")[0] < middle.object_count)
    with pytest.raises(BackupError, match=f"{middle.backup_id}: the bucket holds"):
        warehouse.back_up(settings, "a test", is_full=False)
    with pytest.raises(BackupError, match=middle.backup_id):
        restore.plan(settings, last)
    bucket.put_object(settings.s3_backup_bucket, victim.object_name, BytesIO(data), len(data))
    wait.until(lambda: catalogue.measure(objects, f"{middle.backup_id}/")[0] == middle.object_count)
    objects.remove_object(WAREHOUSE, f"catalogue/{middle.backup_id}.json")
    with pytest.raises(BackupError, match=f"stands on {middle.backup_id}, which is missing"):
        restore.plan(settings, last)
    catalogue.put(objects, middle)
    assert restore.plan(settings, last)
    assert base.backup_id in restore.plan(settings, last)[1]


def test_a_full_bucket_is_reported_and_harms_nothing(stack: Stack) -> None:
    settings = stack.settings
    good = warehouse.back_up(settings, "a test", is_full=True)
    room = good.byte_count // 2
    with (
        full_store.in_front_of(settings.s3_endpoint, room) as store,
        gateway_of(stack, s3_endpoint=store.endpoint) as full,
    ):
        with pytest.raises(BackupError, match="Is the bucket full") as refused:
            warehouse.back_up(full, "a test", is_full=True)
        assert store.refused > 0
        with postgres.connect(settings) as connection:
            row = connection.execute(
                "SELECT state, reason FROM backups ORDER BY started_at DESC LIMIT 1"
            ).fetchone()
        assert row["state"] == "failed"
        assert row["reason"] == str(refused.value)
        with pytest.raises(BackupError, match="minimum free drive threshold"):
            metadata.back_up(full, "a test")
    assert catalogue.choose(gateway.connect(settings)).backup_id == good.backup_id
    assert warehouse.back_up(settings, "a test").base_id == good.backup_id


def test_a_wrong_key_is_named(stack: Stack) -> None:
    gateway.ensure_folders(stack.settings)
    with (
        gateway_of(stack, backup_key="another key") as wrong,
        pytest.raises(BackupError, match="MILLRACE_BACKUP_KEY is not the key"),
    ):
        gateway.ensure_folders(wrong)
    with pytest.raises(BackupError, match="never written in the clear"):
        gateway.environment(stack.settings.model_copy(update={"backup_key": SecretStr("")}))


def test_the_second_bucket_restores_alone(stack: Stack) -> None:
    copying = stack.settings.model_copy(update={"backup_copy_bucket": "elsewhere"})
    store.ensure_buckets(copying)
    entry = warehouse.back_up(copying, "a test")
    folders = [stack.settings.home / "s3" / name for name in ("millrace-backups", "elsewhere")]
    first, second = (
        {
            str(path.relative_to(folder)): path.read_bytes()
            for path in (folder / WAREHOUSE).rglob("*")
            if path.is_file()
        }
        for folder in folders
    )
    assert first == second
    with gateway_of(stack, s3_backup_bucket="elsewhere") as alone:
        assert catalogue.choose(gateway.ensure_folders(alone)) == entry
        restore.restore(alone, entry, is_replace=True)
    now = datetime.now(UTC)
    warehouse.back_up(copying, "a test", is_full=True)
    retention.expire(copying, now + timedelta(days=copying.backup_retention_days + 1))
    kept = [set(catalogue.ids(gateway.connect(stack.settings)))]
    kept.append({path.stem for path in (folders[1] / WAREHOUSE / "catalogue").iterdir()})
    assert kept[0] == kept[1]
    assert entry.backup_id not in kept[1]
    assert not any((folders[1] / WAREHOUSE / entry.backup_id).rglob("*.*"))


def test_never_two_at_once(settings: Settings) -> None:
    with catalogue.alone(settings), pytest.raises(BackupError, match="another backup"):
        warehouse.back_up(settings, "a test")


def test_an_interrupted_backup_goes_on_from_its_cut(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = count(settings)
    original, written = warehouse.measure, []

    def die(client: object, table: str) -> tuple[int, int]:
        if len(written) == 2:
            raise KeyboardInterrupt  # as abrupt as a kill: no clean-up runs
        written.append(table)
        return original(client, table)  # type: ignore[arg-type]

    monkeypatch.setattr(warehouse, "measure", die)
    with pytest.raises(KeyboardInterrupt):
        warehouse.back_up(settings, "a test", is_full=True)
    monkeypatch.undo()
    add_events(settings, 10)  # after the cut
    entry = warehouse.back_up(settings, "a test")
    events = next(table for table in entry.tables if table.name == "events")
    assert events.rows == rows
    with postgres.connect(settings) as connection:
        states = connection.execute("SELECT state FROM backups WHERE state = 'running'").fetchall()
    assert states == []


def test_a_cut_waits_for_what_stands_half_published_and_says_what_does_not_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.connect(settings) as connection:
        connection.execute(
            "INSERT INTO data_sources (source_id, description, topic, dead_letter_topic) "
            "VALUES ('cut', '', 'cut', 'cut') ON CONFLICT DO NOTHING"
        )
        row = connection.execute(
            "WITH gate AS (INSERT INTO gates (source_id, statement, fingerprint, rules) "
            "VALUES ('cut', '', 'a test', '{}') RETURNING gate_id) "
            "INSERT INTO ingest_batches (source_id, gate_id, owner) "
            "SELECT 'cut', gate_id, 'a test' FROM gate RETURNING batch_id"
        ).fetchone()
        batch_id = row["batch_id"]
    add_events(settings, 5)
    with clickhouse.connect(settings) as client:
        client.command(
            f"INSERT INTO events (event_id, event_time, batch_id) SELECT generateUUIDv4(), "
            f"now64(3), {batch_id}"
        )
    monkeypatch.setattr(warehouse, "SETTLE_SECONDS", 1.0)
    entry = warehouse.back_up(settings, "a test")
    assert entry.details["half_published"] == [batch_id]
    assert any("half published" in line for line in restore.plan(settings, entry))

    monkeypatch.setattr(warehouse, "SETTLE_SECONDS", 30.0)
    with ThreadPoolExecutor(1) as pool:
        backing_up = pool.submit(warehouse.back_up, settings, "a test")
        with postgres.connect(settings) as connection:
            query = "SELECT count(*) AS n FROM backups WHERE state = 'running' AND cut_at IS NULL"
            wait.until(lambda: connection.execute(query).fetchone()["n"] == 1)
            connection.execute("DELETE FROM ingest_batches WHERE batch_id = %s", [batch_id])
        assert backing_up.result().details["half_published"] == []


def test_retention_takes_whole_chains_and_keeps_the_newest(settings: Settings) -> None:
    objects = gateway.connect(settings)
    warehouse.back_up(settings, "a test", is_full=True)
    newest = warehouse.back_up(settings, "a test")
    held = catalogue.ids(objects)
    now = datetime.now(UTC)
    assert retention.expire(settings, now) == []
    gone = retention.expire(settings, now + timedelta(days=settings.backup_retention_days + 1))
    assert set(catalogue.ids(objects)) == {newest.base_id, newest.backup_id}
    assert set(gone) == set(held) - {newest.base_id, newest.backup_id}


def test_a_wrong_catalogue_is_noticed(settings: Settings) -> None:
    entry = catalogue.choose(gateway.connect(settings))
    events = next(table for table in entry.tables if table.name == "events")
    lying = replace(entry, tables=[replace(events, rows=events.rows + 1)])
    with pytest.raises(BackupError, match=r"came back wrong: .*events has"):
        restore.restore(settings, lying, is_replace=True)
    restore.restore(settings, entry, is_replace=True)


def test_metadata_survives_up_to_the_last_archived_second(stack: Stack, tmp_path: Path) -> None:
    settings = stack.settings
    base = metadata.back_up(settings, "a test")
    with postgres.connect(settings) as connection:
        connection.execute("DELETE FROM event_types WHERE description = 'a test'")
        connection.execute("INSERT INTO event_types VALUES ('before', 'a test')")
        moment = connection.execute("SELECT clock_timestamp() AS now").fetchone()["now"]
        connection.execute("INSERT INTO event_types VALUES ('after', 'a test')")
        wanted = connection.execute("SELECT pg_current_wal_flush_lsn() AS lsn").fetchone()["lsn"]

        def archived() -> bool:
            row = connection.execute(
                "SELECT archived_lsn >= %s::pg_lsn AS is_there FROM wal_archive", [wanted]
            ).fetchone()
            return bool(row and row["is_there"])

        wait.until(archived, timeout=60)

    def types(data: Path, to: datetime | None) -> set[str]:
        data.parent.chmod(0o755)
        metadata.restore(settings, data, base, to)
        port = processes.free_port()
        with metadata.running(data, port, data.parent / f"{data.name}.log"):
            dsn = postgres.dsn(settings).replace(f":{settings.port('postgres')}/", f":{port}/")
            with psycopg.connect(dsn) as restored:
                rows = restored.execute("SELECT event_type FROM event_types").fetchall()
        return {row[0] for row in rows} & {"before", "after"}

    assert types(tmp_path / "newest", None) == {"before", "after"}
    assert types(tmp_path / "earlier", moment) == {"before"}
    with pytest.raises(BackupError, match="not empty"):
        metadata.restore(settings, tmp_path / "newest", base)


def test_a_damaged_base_backup_is_refused(stack: Stack, tmp_path: Path) -> None:
    settings = stack.settings
    base = metadata.choose(gateway.connect(settings))
    store = settings.home / "s3" / settings.s3_backup_bucket / METADATA / metadata.FOLDER
    path = store / f"{base.backup_id}.tar.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"\x00" * 100 + whole[len(whole) // 2 + 100 :])
    with pytest.raises(BackupError, match="use an older one"):
        metadata.restore(settings, tmp_path / "data", base)
    path.write_bytes(whole)


def test_large_files_come_back_whole(stack: Stack, tmp_path: Path) -> None:
    """Files so large that clients of S3 would upload them in parts, for longer than a second."""
    settings = stack.settings
    with clickhouse.connect(settings) as client:
        client.command(
            "INSERT INTO raw_events (topic, offset, value, ingested_at) "
            "SELECT 'events', number, randomString(1000), now64(3) FROM numbers(150000)"
        )
    with postgres.connect(settings) as connection:
        connection.execute(
            "CREATE TABLE large AS SELECT sha512(n::text::bytea) FROM generate_series(1, 700000) n"
        )
    entry = warehouse.back_up(settings, "a test", is_full=True)
    assert entry.byte_count > 100 << 20
    restore.restore(settings, entry, is_replace=True)
    base = metadata.back_up(settings, "a test")
    assert base.byte_count > 40 << 20
    metadata.restore(settings, tmp_path / "data", base)
