"""Events that are too old, or soon will be, and clocks that are wrong: each is decided once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from tests.helpers import own_warehouse, wait
from tests.integration.ingest_bed import Bed, event

from millrace.ingest.ledger import Ledger
from millrace.lab.verify import conservation
from millrace.settings import Settings
from millrace.stores import clickhouse, kafka, sql

DAY_MS = 86_400_000


@pytest.fixture
def bed(settings: Settings) -> Iterator[Bed]:
    """A bed whose events are counted by a rollup that keeps them longer than ``events`` does."""
    made = Bed(settings.model_copy(update={"ingest_tasks": 1, "ingest_lease_seconds": 2}))
    made.query(
        f"CREATE TABLE rollup_{made.name} (user_id UInt64, events UInt64) "
        "ENGINE = SummingMergeTree ORDER BY user_id "
        "SETTINGS non_replicated_deduplication_window = 1000"
    )
    made.query(
        f"CREATE MATERIALIZED VIEW view_{made.name} TO rollup_{made.name} AS SELECT user_id, "
        f"count() AS events FROM events WHERE source_id = '{made.name}' GROUP BY user_id"
    )
    yield made
    made.query(f"DROP TABLE view_{made.name}")


def rolled_up(bed: Bed) -> int:
    ((events,),) = bed.query(f"SELECT sum(events) FROM rollup_{bed.name}")
    return int(events)


def expiring(bed: Bed, seconds: float) -> str:
    """The time of an event that is kept for so many seconds more."""
    kept = timedelta(days=bed.settings.events_retention_days)
    return (datetime.now(UTC) - kept + timedelta(seconds=seconds)).isoformat()


def expire(bed: Bed) -> None:
    """Wait until the event table has dropped what is past its time."""
    days = bed.settings.events_retention_days
    dropped = f"source_id = {{source}} AND event_time < now64(3) - toIntervalDay({days - 1})"

    def is_gone() -> bool:
        rows = bed.query(f"SELECT DISTINCT _partition_id FROM events WHERE {dropped}")
        for (partition,) in rows:
            bed.query(f"OPTIMIZE TABLE events PARTITION ID '{partition}' FINAL")
        return not rows

    wait.until(is_gone)


def differences(bed: Bed) -> list[str]:
    report = conservation.verify(bed.settings, topics=[bed.name], wait_seconds=10)
    return [f"{c.name}: {d.what} {d.found}" for c in report.checks for d in c.differences]


def messages(bed: Bed) -> list[Any]:
    return [event(user, timestamp=expiring(bed, 8)) for user in range(1, 21)] + [
        event(user) for user in range(21, 31)
    ]


def test_events_that_expire_soon_are_loaded_once(bed: Bed) -> None:
    bed.send(messages(bed))
    assert bed.load() == 30
    assert rolled_up(bed) == 30
    expire(bed)

    for _ in range(2):
        assert bed.load() == 0
        assert rolled_up(bed) == 30
    assert bed.query("SELECT count() FROM events WHERE source_id = {source}") == [(10,)]
    assert bed.incidents("warehouse_behind") == []
    assert differences(bed) == []


def test_what_is_lost_beside_what_expired_comes_back_without_it(bed: Bed) -> None:
    bed.send(messages(bed))
    bed.load()
    expire(bed)
    bed.delete("events", "source_id = {source} AND user_id > 25")

    bed.load()

    assert bed.query("SELECT count() FROM events WHERE source_id = {source}") == [(10,)]
    assert bed.query(f"SELECT sum(events) FROM rollup_{bed.name} WHERE user_id <= 20") == [(20,)]
    assert len(bed.incidents("warehouse_behind")) >= 1
    assert differences(bed) == []


def test_a_repeat_after_its_events_expired_changes_nothing(bed: Bed) -> None:
    bed.send(messages(bed))
    (share,) = bed.kill_at(Ledger, "complete", after=False)
    expire(bed)

    bed.drain(share, attempt=2)

    assert rolled_up(bed) == 30
    assert bed.ask(
        "SELECT state, generation FROM ingest_batches WHERE source_id = %s", bed.name
    ) == [{"state": "loaded", "generation": 0}]
    assert bed.load() == 0
    assert rolled_up(bed) == 30
    assert differences(bed) == []


def allow_any_time(bed: Bed) -> None:
    """Have the broker take any producer's clock, as brokers before Kafka 4 do, and keep it all."""
    limits = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in {
            "message.timestamp.after.max.ms": str((1 << 63) - 1),
            "retention.ms": "-1",
        }.items()
    ]
    topic = ConfigResource(ResourceType.TOPIC, bed.name, incremental_configs=limits)
    admin = kafka.admin(bed.settings)
    admin.incremental_alter_configs([topic])[topic].result()


def test_old_and_future_events_are_rejected_whatever_kafkas_clock_says(bed: Bed) -> None:
    allow_any_time(bed)
    now = int(time.time() * 1000)
    old = [now - 91 * DAY_MS, now - 400 * DAY_MS, 946_684_800_000, 1]
    future = [4_417_977_600_000, 5_995_814_400_000, 7_258_118_400_000]  # 2110, 2160, 2200
    for moment in [*old, *future]:
        at = datetime.fromtimestamp(moment / 1000, UTC).isoformat()
        bed.send([event(timestamp=at) for _ in range(3)], timestamp=moment)
        bed.send([event()], timestamp=moment)  # only Kafka's time is wrong
    bed.send([event(timestamp="1969-07-20T20:17:40Z")], timestamp=1)

    assert bed.load() == 4 * 7 + 1
    assert bed.load() == 0

    assert bed.reasons() == {"event_too_old": 13, "event_in_future": 9}
    assert rolled_up(bed) == 7
    bed.assert_conserved(messages=29, events=7)
    assert differences(bed) == []


def test_tables_keep_what_the_settings_say_now(settings: Settings, tmp_path: Path) -> None:
    with own_warehouse.own(settings, tmp_path, "kept_longer") as made:
        longer = made.model_copy(update={"events_retention_days": 400, "raw_retention_days": 9})
        clickhouse.migrate(longer)
        client = clickhouse.connect(made)
        found = client.query(
            "SELECT name, extract(engine_full, 'toIntervalDay.([0-9]+)') FROM system.tables "
            "WHERE database = 'kept_longer' "
            "AND name IN ('raw_events', 'events', 'rejected_events') ORDER BY name"
        ).result_rows
        assert found == [("events", "400"), ("raw_events", "9"), ("rejected_events", "400")]
        ttls = dict(
            client.query(
                "SELECT name, extract(engine_full, 'TTL (.+?) SETTINGS') FROM system.tables "
                "WHERE database = 'kept_longer' AND name IN ('events', 'rejected_events')"
            ).result_rows
        )
        assert clickhouse.follow_retention(client, longer) == []
        client.close()
    # What a repeat takes for expired is what the tables drop.
    asked = sql.render("clickhouse/ingest/expired.sql", retention_days=400)
    claimed = ttls["rejected_events"].replace("rejected_at", "{claimed_at:DateTime64(3, 'UTC')}")
    assert f"WHERE {ttls['events']} <= now()" in asked
    assert f"SELECT count(), {claimed} <= now()" in asked
