"""What is delivered is in Kafka once, in order; what can't be kept is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.integration import delivery_bed
from tests.integration.delivery_bed import delivering, expected, records, stored

from millrace.api.http import ProblemError
from millrace.api.ingestion.delivery import LARGEST_EVENT, Record
from millrace.settings import Settings
from millrace.stores import kafka


@pytest.fixture
def topic(settings: Settings) -> str:
    return delivery_bed.new_topic(settings)


def run_batches(settings: Settings, batches: Sequence[Sequence[Record]]) -> None:
    async def run() -> None:
        async with delivering(settings) as delivery:
            for batch in batches:
                await delivery.deliver(batch)
            assert delivery.readiness() == []

    asyncio.run(run())


def test_what_is_delivered_is_stored_in_order(settings: Settings, topic: str) -> None:
    run_batches(settings, [records(topic, first, 100) for first in range(0, 5_000, 100)])
    assert stored(settings, topic) == expected(5_000)


def test_requests_at_once_keep_the_order_they_came_in(settings: Settings, topic: str) -> None:
    async def run() -> None:
        async with delivering(settings) as delivery:
            await asyncio.gather(
                *(delivery.deliver(records(topic, first, 50)) for first in range(0, 10_000, 50))
            )

    asyncio.run(run())
    assert stored(settings, topic) == expected(10_000)


def test_an_event_that_kafka_never_takes_is_refused_with_its_request(
    settings: Settings, topic: str
) -> None:
    large = Record(topic, b"1", b"x" * kafka.LARGEST_MESSAGE_BYTES, None)
    with pytest.raises(ProblemError) as caught:
        run_batches(settings, [[large, *records(topic, 0, 10)]])
    assert (caught.value.status, caught.value.code) == (413, "event_too_large")
    assert stored(settings, topic) == {}


def test_the_largest_event_is_taken(settings: Settings, topic: str) -> None:
    largest = Record(topic, b"0", b"0" * LARGEST_EVENT, [("source", b"test")])
    run_batches(settings, [[largest, *records(topic, 1, 10)]])
    ends = kafka.ends(settings, [(topic, n) for n in range(settings.topic_partitions)])
    assert sum(ends.values()) == 11


def test_a_request_that_is_given_up_is_delivered_nonetheless(
    settings: Settings, topic: str
) -> None:
    async def run() -> None:
        async with delivering(settings) as delivery:
            asked = asyncio.create_task(delivery.deliver(records(topic, 0, 100)))
            await asyncio.sleep(0)
            asked.cancel()
            await delivery.deliver(records(topic, 100, 100))

    asyncio.run(run())
    assert stored(settings, topic) == expected(200)
