"""The rebuild of a day, on the real stack, with the rules changed under it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from confluent_kafka import TopicPartition
from psycopg.types.json import Jsonb
from tests.integration.ingest_bed import Bed, event

from millrace.contract.gate import Gate
from millrace.exports import definitions, service
from millrace.ingest import rebuild as rebuilding
from millrace.ingest import topics
from millrace.ingest.rebuild.day import _Rebuild
from millrace.settings import Settings
from millrace.stores import kafka


@pytest.fixture
def bed(settings: Settings) -> Bed:
    return Bed(settings)


def today() -> date:
    return datetime.now(UTC).date()


def noon(days_ago: int = 0) -> str:
    moment = datetime.now(UTC).replace(hour=0, minute=0, second=1) - timedelta(days=days_ago)
    return moment.isoformat()


def shadows(bed: Bed) -> list[tuple[str]]:
    return bed.query("SELECT name FROM system.tables WHERE name LIKE '%__rebuild_%'")


def make_rollups(bed: Bed) -> None:
    """Two rollups, the second filled from the first, as dbt builds them."""
    for statement in (
        "CREATE DATABASE IF NOT EXISTS analytics_r",
        "CREATE TABLE IF NOT EXISTS analytics_r.minutes (minute DateTime('UTC'), source_id String, "
        "n UInt64) ENGINE = SummingMergeTree PARTITION BY toDate(minute) "
        "ORDER BY (minute, source_id) SETTINGS non_replicated_deduplication_window = 1000",
        "CREATE TABLE IF NOT EXISTS analytics_r.hours (hour DateTime('UTC'), source_id String, "
        "n UInt64) ENGINE = SummingMergeTree PARTITION BY (toDate(hour)) "
        "ORDER BY (hour, source_id) SETTINGS non_replicated_deduplication_window = 1000",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS analytics_r.minutes_mv TO analytics_r.minutes AS "
        "SELECT toStartOfMinute(event_time) AS minute, toString(events.source_id) AS source_id, "
        "count() AS n FROM events GROUP BY minute, source_id",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS analytics_r.hours_mv TO analytics_r.hours AS "
        "SELECT toStartOfHour(m.minute) AS hour, source_id, sum(m.n) AS n "
        "FROM analytics_r.minutes AS m GROUP BY hour, source_id",
    ):
        bed.query(statement)


def assert_rolled_up(bed: Bed) -> None:
    where = "WHERE source_id = {source}"
    expected = bed.query(
        "SELECT toStartOfMinute(event_time) AS minute, count() FROM events "
        f"{where} GROUP BY minute ORDER BY minute"
    )
    found = bed.query(
        f"SELECT minute, sum(n) FROM analytics_r.minutes {where} GROUP BY minute ORDER BY minute"
    )
    assert found == expected
    ((hours,),) = bed.query(f"SELECT sum(n) FROM analytics_r.hours {where}")
    assert hours == sum(n for _, n in expected)


def events(bed: Bed) -> list[tuple[object, ...]]:
    return bed.query("SELECT * FROM events WHERE source_id = {source} ORDER BY partition, offset")


def test_a_rebuild_under_the_same_rules_changes_nothing(bed: Bed) -> None:
    make_rollups(bed)
    good = [event(user, timestamp=noon()) for user in range(1, 301)]
    yesterday = [event(user, timestamp=noon(1)) for user in range(1, 51)]
    bed.send([*good, *yesterday, b"bad", {"event": "page_view"}, *good[:20]])
    bed.load()
    before, reasons = events(bed), bed.reasons()

    report = rebuilding.rebuild(bed.settings, today())

    assert events(bed) == before
    assert bed.reasons() == reasons
    assert report.before == report.after
    assert report.sources == {"raw_events": 372}
    bed.assert_conserved(messages=372, events=350)
    assert_rolled_up(bed)
    assert shadows(bed) == []


def test_an_empty_day_is_left_empty(bed: Bed) -> None:
    report = rebuilding.rebuild(bed.settings, date(2020, 1, 1))
    assert report.after == {}


def test_lost_events_and_rollups_come_back(bed: Bed) -> None:
    make_rollups(bed)
    bed.send(event(user, timestamp=noon()) for user in range(1, 201))
    bed.send([b"bad"])
    bed.load()
    before = events(bed)
    bed.delete("events", "source_id = {source} AND user_id % 2 = 0")
    bed.query(f"ALTER TABLE analytics_r.minutes DROP PARTITION '{today()}'")

    report = rebuilding.rebuild(bed.settings, today())

    assert events(bed) == before
    assert report.after["event"] - report.before["event"] == 100
    bed.assert_conserved(messages=201, events=200)
    assert_rolled_up(bed)


def gates(bed: Bed) -> tuple[Gate, Gate]:
    """A gate that refuses the page ``/secret``, and the bed's own."""
    (row,) = bed.ask(
        "SELECT g.definition FROM current_gates c JOIN gates g USING (gate_id) "
        "WHERE c.source_id = %s",
        bed.name,
    )
    lenient = Gate.from_json(row["definition"])
    is_secret = "JSONExtractString(value, 'page') = '/secret'"
    strict = replace(
        lenient,
        is_broken=f"({is_secret}) OR {lenient.is_broken}",
        failures=f"if({is_secret}, ['out_of_range|page|test'], {lenient.failures})",
    )
    return strict, lenient


def use_gate(bed: Bed, gate: Gate) -> None:
    bed.ask(
        "UPDATE gates SET statement = %s, definition = %s WHERE gate_id = "
        "(SELECT gate_id FROM current_gates WHERE source_id = %s)",
        gate.statement(),
        Jsonb(gate.as_json()),
        bed.name,
    )


def test_rejected_events_come_back_when_the_rules_allow_them(bed: Bed) -> None:
    """A rule that refuses a page is lifted; what it refused becomes events of their day."""
    make_rollups(bed)
    strict, lenient = gates(bed)
    use_gate(bed, strict)
    secret = [event(user, page="/secret", timestamp=noon()) for user in range(1, 31)]
    late = [event(user, page="/secret", timestamp=noon(1)) for user in range(1, 11)]
    bed.send([*secret, *secret[:5], *late, *(event(user, timestamp=noon()) for user in (1, 2))])
    bed.load()
    assert bed.reasons()["out_of_range"] == 45
    use_gate(bed, lenient)

    report = rebuilding.rebuild(bed.settings, today())

    assert report.after["event"] - report.before["event"] == 30
    assert bed.reasons() == {"duplicate_event_id": 5, "out_of_range": 10}
    rebuilding.rebuild(bed.settings, today() - timedelta(days=1))
    assert bed.reasons() == {"duplicate_event_id": 5}
    ((rows, ids),) = bed.query(
        "SELECT count(), uniqExact(event_id) FROM events WHERE source_id = {source}"
    )
    assert (rows, ids) == (42, 42)
    assert_rolled_up(bed)

    # What came back is known to the register: a further copy is a duplicate.
    bed.send([secret[0]])
    bed.load()
    assert bed.reasons() == {"duplicate_event_id": 6}

    # And the other way: the rule is set again, and events of the day are rejected.
    use_gate(bed, strict)
    rebuilding.rebuild(bed.settings, today())
    assert bed.reasons()["out_of_range"] == 36
    ((rows,),) = bed.query("SELECT count() FROM events WHERE source_id = {source}")
    assert rows == 12
    assert_rolled_up(bed)


def test_events_that_arrive_meanwhile_survive(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    make_rollups(bed)
    bed.send(event(user, timestamp=noon()) for user in range(1, 101))
    bed.load()
    audit = _Rebuild._audit

    def load_then_audit(self: _Rebuild) -> None:
        bed.send(event(user, timestamp=noon()) for user in range(101, 151))
        bed.send([b"bad"])
        bed.load()
        audit(self)

    monkeypatch.setattr(_Rebuild, "_audit", load_then_audit)
    report = rebuilding.rebuild(bed.settings, today())
    assert report.arrived_meanwhile == 50
    bed.assert_conserved(messages=151, events=150)
    assert_rolled_up(bed)


def test_two_rebuilds_of_a_day_do_not_meet(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, leave = threading.Event(), threading.Event()
    prepare = _Rebuild._prepare

    def slow(self: _Rebuild) -> None:
        prepare(self)
        entered.set()
        leave.wait(30)

    monkeypatch.setattr(_Rebuild, "_prepare", slow)
    first = threading.Thread(target=rebuilding.rebuild, args=(bed.settings, today()))
    first.start()
    assert entered.wait(30)
    with pytest.raises(rebuilding.RebuildError, match="another rebuild"):
        rebuilding.rebuild(bed.settings, today())
    leave.set()
    first.join()


KILLED = """
import os, signal, datetime
from millrace.ingest.rebuild import day
from millrace.settings import Settings
calls, method = 0, getattr(day._Rebuild, {method!r})
def die(*arguments):
    global calls
    calls += 1
    if calls == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return method(*arguments)
setattr(day._Rebuild, {method!r}, die)
day.rebuild(Settings(), datetime.date.fromisoformat({day!r}))
"""


def kill_rebuild(day: date, method: str, call: int = 1) -> None:
    """Rebuild a day in a process of its own that dies by kill -9 at a call of a method."""
    script = KILLED.format(method=method, call=call, day=str(day))
    died = subprocess.run([sys.executable, "-c", script], env=os.environ, check=False)
    assert died.returncode == -signal.SIGKILL


@pytest.mark.parametrize("method", ["_reject_duplicates", "_register"])
def test_a_killed_rebuild_leaves_the_day_and_is_cleaned_up(bed: Bed, method: str) -> None:
    make_rollups(bed)
    bed.send(event(user, timestamp=noon()) for user in range(1, 51))
    bed.load()
    before = events(bed)
    kill_rebuild(today(), method)
    assert shadows(bed) != []
    assert events(bed) == before
    assert_rolled_up(bed)

    rebuilding.rebuild(bed.settings, today())
    assert events(bed) == before
    assert_rolled_up(bed)
    assert shadows(bed) == []


@pytest.mark.parametrize("call", [2, 3], ids=["rejected-events", "events-rollup"])
def test_a_rebuild_killed_between_two_swaps_is_healed_by_its_retry(bed: Bed, call: int) -> None:
    """Late messages are the hard case: nothing but a verdict says which day they belong to."""
    make_rollups(bed)
    strict, lenient = gates(bed)
    use_gate(bed, strict)
    yesterday = today() - timedelta(days=1)
    freed = [event(user, page="/secret", timestamp=noon(1)) for user in range(1, 31)]
    kept = [event(user, timestamp=noon(1)) for user in range(1, 21)]
    bed.send([*freed, *kept, event(timestamp=noon())])
    bed.load()
    use_gate(bed, lenient)

    kill_rebuild(yesterday, "_replace", call)
    rebuilding.rebuild(bed.settings, yesterday)

    bed.assert_conserved_verdicts(messages=51, events=51)
    assert_rolled_up(bed)
    assert shadows(bed) == []

    use_gate(bed, strict)
    kill_rebuild(yesterday, "_replace", call)
    rebuilding.rebuild(bed.settings, yesterday)

    bed.assert_conserved_verdicts(messages=51, events=21)
    assert_rolled_up(bed)
    assert shadows(bed) == []


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
    retire(past)
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
        past.ask("DELETE FROM ingest_batches WHERE source_id = %s", past.name)

    report = rebuilding.rebuild(past.settings, past.day)

    assert report.sources == {"Kafka": 102}
    assert past.verdicts() == before


def test_messages_that_nothing_else_remembers_come_back_from_kafka(past: Past) -> None:
    past.arrive(12, range(1, 101))
    for table in ("raw_events", "events", "rejected_events"):
        past.query(f"ALTER TABLE {table} DROP PARTITION '{past.day}'")
    past.ask("DELETE FROM ingest_batches WHERE source_id = %s", past.name)

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

    retire(past)  # and now the last hour is nowhere
    with pytest.raises(rebuilding.RebuildError, match=f"{past.name} partition . offsets"):
        rebuilding.rebuild(past.settings, past.day)
    assert past.verdicts() == before
    assert shadows(past) == []


def retire(bed: Bed) -> None:
    """Have Kafka's retention remove everything."""
    ends = {p: high for p, (_, high) in topics.offsets(bed.settings, bed.name, range(4)).items()}
    admin = kafka.admin(bed.settings)
    asked = [TopicPartition(bed.name, p, end) for p, end in ends.items() if end]
    for future in admin.delete_records(asked).values():
        future.result()
