"""Where a rebuild gets a day's messages from: raw events, the archive, Kafka, or all three."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.helpers import wait
from tests.integration.ingest_bed import Bed, event
from tests.integration.rebuild_bed import shadows, today

from millrace.backups import erasure
from millrace.exports import definitions, service
from millrace.ingest import rebuild as rebuilding
from millrace.settings import Settings


class Past(Bed):
    """A bed whose messages came yesterday, to Kafka and to ClickHouse."""

    day = today() - timedelta(days=1)

    def arrive(self, hour: int, users: range) -> None:
        """Send and load valid events, a copy and garbage in one hour of yesterday."""
        moment = datetime(self.day.year, self.day.month, self.day.day, hour, 30, tzinfo=UTC)
        good = [event(user, timestamp=moment.isoformat()) for user in users]
        arrival = int(moment.timestamp() * 1000)
        self.send([*good, good[0], b"garbage"], timestamp=arrival)
        self.ask(f"ALTER TABLE ingest_batches ALTER claimed_at SET DEFAULT '{moment}'")
        self.load()

    def archive(self, hour: int) -> None:
        """Export an hour of raw_events."""
        definitions.apply(self.settings)
        start = datetime(self.day.year, self.day.month, self.day.day, hour, tzinfo=UTC)
        window = {"start": start.isoformat(), "end": (start + timedelta(hours=1)).isoformat()}
        service.export(self.settings, {"name": "raw_events", **window}, "a test")

    def forget(self) -> None:
        """Have the ledger forget its micro-batches, as it does when they are old."""
        forgotten = self.ask(
            "DELETE FROM ingest_batches WHERE source_id = %s RETURNING batch_id", self.name
        )
        second = max(row["batch_id"] for row in forgotten) >> 20  # that it was claimed in
        wait.until(lambda: time.time() > second + 1)

    def lose(self, hour: int) -> None:
        """Have raw_events lose what came in an hour."""
        self.delete("raw_events", f"source_id = {{source}} AND toHour(ingested_at) = {hour}")

    def verdicts(self) -> list[tuple[object, ...]]:
        """Every verdict, with the micro-batch it came in."""
        return [
            *self.query(
                "SELECT * FROM events WHERE source_id = {source} ORDER BY partition, offset"
            ),
            *self.query(
                "SELECT partition, offset, reason, value, batch_id, rejected_at "
                "FROM rejected_events WHERE source_id = {source} ORDER BY partition, offset"
            ),
        ]


@pytest.fixture
def past(settings: Settings) -> Iterator[Past]:
    bed = Past(settings)
    yield bed
    bed.ask("ALTER TABLE ingest_batches ALTER claimed_at SET DEFAULT clock_timestamp()")
    bed.ask("DELETE FROM exported_windows WHERE name = 'raw_events'")


def test_a_day_is_rebuilt_from_the_archive_alone(past: Past) -> None:
    past.arrive(12, range(1, 101))
    before = past.verdicts()
    past.archive(12)
    past.query(f"ALTER TABLE raw_events DROP PARTITION '{past.day}'")
    past.delete_before(past.ends())
    past.query(f"ALTER TABLE events DROP PARTITION '{past.day}'")

    report = rebuilding.rebuild(past.settings, past.day)

    assert report.sources == {"the raw archive": 102}
    assert past.verdicts() == before


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_a_day_is_rebuilt_from_kafka_alone(past: Past, is_forgotten: bool) -> None:
    past.arrive(12, range(1, 101))
    before = past.verdicts()
    past.query(f"ALTER TABLE raw_events DROP PARTITION '{past.day}'")
    if is_forgotten:  # the ledger keeps micro-batches no longer than raw_events keeps messages
        past.forget()

    report = rebuilding.rebuild(past.settings, past.day)

    assert report.sources == {"Kafka": 102}
    assert past.verdicts() == before


def test_messages_that_nothing_else_remembers_come_back_from_kafka(past: Past) -> None:
    past.arrive(12, range(1, 101))
    for table in ("raw_events", "events", "rejected_events"):
        past.query(f"ALTER TABLE {table} DROP PARTITION '{past.day}'")
    past.forget()

    report = rebuilding.rebuild(past.settings, past.day)

    assert report.sources == {"Kafka": 102}
    past.assert_conserved_verdicts(messages=102, events=100)


def test_a_day_in_pieces_is_put_together_from_every_source(past: Past) -> None:
    for hour in (8, 12, 16):
        past.arrive(hour, range(hour * 100, hour * 100 + 50))
    past.archive(8)
    before = past.verdicts()
    past.lose(8)
    past.lose(16)

    report = rebuilding.rebuild(past.settings, past.day)

    assert report.sources == {"raw_events": 52, "the raw archive": 52, "Kafka": 52}
    assert past.verdicts() == before

    past.delete_before(past.ends())  # and now the last hour is nowhere
    with pytest.raises(rebuilding.RebuildError, match=f"{past.name} partition . offsets"):
        rebuilding.rebuild(past.settings, past.day)
    assert past.verdicts() == before
    assert shadows(past) == []


def test_who_was_erased_does_not_come_back_from_kafka(past: Past) -> None:
    past.arrive(12, range(1, 101))
    erasure.carry_out(past.settings, [erasure.order(past.settings, 50, "a test", "on request")])
    before = past.verdicts()
    past.query(f"ALTER TABLE raw_events DROP PARTITION '{past.day}'")

    report = rebuilding.rebuild(past.settings, past.day)

    assert report.sources == {"Kafka": 101}
    assert past.verdicts() == before
