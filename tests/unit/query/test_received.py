"""Up to when everything that was received is loaded, without servers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from millrace.api.query.received import Received, moment

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOURCES = [{"topic": "events", "created_at": START.timestamp() - 86_400}]


def after(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


def position(
    partition: int, judged: int, claimed: int | None = None, **changes: Any
) -> dict[str, Any]:
    return {
        "topic": "events",
        "topic_id": "a",
        "topic_incarnation": 0,
        "partition": partition,
        "judged_offset": judged,
        "claimed_offset": judged if claimed is None else claimed,
        "reached_at": None,
    } | changes


def test_a_quiet_partition_holds_nothing_back() -> None:
    received = Received()
    received.read([position(0, 10), position(1, 0)], SOURCES, after(0))
    assert moment(received.until).year == 1970  # Kafka was not asked yet
    for seconds in range(1, 60):
        received.hear({("events", 0): 10 + seconds, ("events", 1): 0}, after(seconds))
        received.read([position(0, 10 + seconds), position(1, 0)], SOURCES, after(seconds))
        assert moment(received.until) == after(seconds)


def test_it_stands_still_with_ingest_and_goes_on_with_it() -> None:
    received = Received()
    received.read([position(0, 10)], SOURCES, after(0))
    for seconds in range(3_000):  # more than are kept
        received.hear({("events", 0): 10 + seconds}, after(seconds))
        received.read([position(0, 10)], SOURCES, after(seconds))
    assert moment(received.until) == after(0)
    received.read([position(0, 1_510)], SOURCES, after(3_000))
    assert after(1_490) <= moment(received.until) <= after(1_500)
    received.read([position(0, 3_009)], SOURCES, after(3_001))
    assert after(2_990) <= moment(received.until) <= after(2_999)


def test_without_kafka_the_last_message_claimed_tells() -> None:
    received = Received()
    open_batch = position(0, judged=10, claimed=20, reached_at=after(5))
    received.read([open_batch], SOURCES, after(6))
    assert moment(received.until).year == 1970  # it is claimed, and not loaded
    received.read([position(0, 20, reached_at=after(5))], SOURCES, after(7))
    assert moment(received.until) == after(5)


def test_a_clock_that_is_ahead_is_not_believed() -> None:
    received = Received()
    received.read([position(0, 20, reached_at=after(3_600))], SOURCES, after(7))
    assert moment(received.until) == after(7)


def test_what_was_set_back_or_recreated_is_known_no_more() -> None:
    received = Received()
    received.read([position(0, 20, reached_at=after(5))], SOURCES, after(6))
    received.read([position(0, 10, claimed=20, reached_at=after(5))], SOURCES, after(7))
    assert moment(received.until).year == 1970
    received.read([position(0, 20, reached_at=after(5))], SOURCES, after(8))
    assert moment(received.until) == after(5)
    received.read([position(0, 30, topic_id="b")], SOURCES, after(9))
    assert moment(received.until).year == 1970


def test_a_source_that_was_never_planned_had_nothing_before_it_was_made() -> None:
    received = Received()
    new = {"topic": "new", "created_at": after(-60).timestamp()}
    received.read([position(0, 20, reached_at=after(5))], [*SOURCES, new], after(6))
    assert moment(received.until) == after(-60)
    received.read([position(0, 20, reached_at=after(5))], SOURCES, after(7))  # switched off
    assert moment(received.until) == after(5)
