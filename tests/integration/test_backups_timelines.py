"""PostgreSQL is restored to moments before, between and after earlier restores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import psycopg
import pytest
from confluent_kafka import TopicPartition
from psycopg.rows import DictRow

from millrace.alerts import repository as alerts
from millrace.alerts.grouping import Group
from millrace.backups import gateway, metadata, receipts, wal
from millrace.backups.erasure import Order
from millrace.backups.gateway import BackupError
from millrace.contract import sources
from millrace.ingest import topics
from millrace.lab import stacks
from millrace.lab.chaos import disaster
from millrace.rules import replay
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import objects, postgres
from millrace.stores.transactions import BY_KEY, Item, Stream
from millrace.usecases import restore_outlook


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


def restore(stack: Stack, moment: datetime | None = None, *options: str) -> str:
    """Restore with the documented command, and return what it said."""
    to = ["--to", moment.isoformat()] if moment else []
    command = ["restore", "--only", "metadata", "--replace", *to, *options]
    return disaster.millrace(stack.settings, *command)


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
def test_an_order_that_the_schema_of_the_moment_had_no_room_for_is_put_back(stack: Stack) -> None:
    settings = stack.settings
    metadata.back_up(settings, "a test")
    with postgres.connect(settings) as connection:  # as before the migration backups_0002
        connection.execute("ALTER TABLE erasures ALTER COLUMN user_id TYPE bigint")
        connection.execute("DELETE FROM schema_migrations WHERE name = 'backups_0002'")
        connection.execute(
            "UPDATE alembic_version SET version_num = 'backups_0001' "
            "WHERE version_num = 'backups_0002'"
        )
    moment = write(stack, "narrow")
    assert postgres.migrate(settings) == ["backups_0002"]
    order = Order(7_000, 2**63 + 5, "a test", "asked for it", datetime.now(UTC))
    receipts.keep(settings, [order])
    wal.await_archived(settings)

    restore(stack, moment)

    with postgres.connect(settings) as connection:
        assert order.user_id in [one.user_id for one in receipts.known(connection)]


@pytest.mark.timeout(300)
def test_what_others_know_is_said_beforehand_and_not_forgotten(stack: Stack) -> None:
    settings = stack.settings
    metadata.back_up(settings, "a test")
    moment = write(stack, "before")
    opened = datetime.now(UTC)
    group = Group("pager", {"alertname": "load"}, opened, opened_at=opened, notified_at=opened)
    with postgres.connect(settings) as connection:
        alerts.save_groups(connection, {}, {group.key: group})
        number = put_replay(settings, connection)
    send(settings, f"{replay.STREAM}{number}")
    objects.connect(settings).put_object(
        settings.s3_bucket, "exports/events/hour=7/run=41/part.parquet", BytesIO(b"rows"), 4
    )
    wal.await_archived(settings)

    said = restore(stack, moment, "--dry-run")
    assert f"replay {number} (sent): forgotten" in said
    assert 'incident {"alertname": "load"} on route pager opened since' in said
    assert "exports: exports/events/hour=7/run=41/: no run is known that wrote it" in said

    assert group.dedup_key in restore(stack, moment)
    with postgres.connect(settings) as connection:
        assert alerts.open_incidents(connection) == {group.key: group}
        assert put_replay(settings, connection) > number


def put_replay(settings: Settings, connection: psycopg.Connection[DictRow]) -> int:
    """Enter a replay that was sent, and return its number."""
    source = sources.default(connection, settings).source_id
    row = connection.execute(
        "INSERT INTO replays (source_id, criteria, preview, state) "
        "VALUES (%s, '{}', '{}', 'sent') RETURNING replay_id",
        [source],
    ).fetchall()[0]
    return int(row["replay_id"])


def send(settings: Settings, name: str) -> None:
    """Send a message in a stream of that name."""
    topic = settings.events_topic
    item = Item(topic, BY_KEY, None, b"{}", [], TopicPartition(topic, 0, 1))
    with closing(Stream(settings, name)) as stream:
        assert stream.send([item], lambda _item, reason: pytest.fail(reason)) == 1


def test_what_kafka_still_has_is_said_beforehand(stack: Stack) -> None:
    settings = stack.settings
    send(settings, "a test")
    found = topics.describe(settings, settings.events_topic)
    assert found is not None
    kept = topics.offsets(settings, found.name, found.partitions)

    def said(**changes: Any) -> list[str]:
        positions = [
            {"topic": found.name, "topic_id": found.topic_id, "partition": p, "next_offset": low}
            for p, (low, _) in kept.items()
        ]
        return list(
            restore_outlook.of_kafka(settings, [position | changes for position in positions])
        )

    total = sum(high - low for low, high in kept.values())
    assert total > 0
    assert said() == [f"events: {total} offsets that Kafka has since the backup are loaded again"]
    assert "was recreated since" in said(topic_id="another")[0]
    assert "Kafka has no topic gone" in said(topic="gone")[0]


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
