"""Kafka goes away and comes back: nothing acknowledged is lost, and a user's order stays."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import NewPartitions
from tests.helpers.delivery_worker import workers
from tests.integration import delivery_bed
from tests.integration.delivery_bed import await_drained, delivering, expected, records, stored

from millrace.api.http import ProblemError
from millrace.api.ingestion import delivery as deliveries
from millrace.api.ingestion import spool as spools
from millrace.api.ingestion.delivery import Record
from millrace.api.ingestion.drain import REFUSED_FILE
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import kafka


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a spool of the test's own, and little patience."""
    return settings.model_copy(update={"home": tmp_path, "ingestion_kafka_seconds": 0.5})


@pytest.fixture
def topic(settings: Settings) -> str:
    return delivery_bed.new_topic(settings)


@contextmanager
def down(stack: Stack) -> Iterator[None]:
    """Have Kafka stopped."""
    stack.stop("kafka")
    try:
        yield
    finally:
        stack.start("kafka")
        stack.wait_healthy("kafka")


@contextmanager
def frozen(stack: Stack) -> Iterator[None]:
    """Have Kafka take connections and answer nothing."""
    stack.pause("kafka")
    try:
        yield
    finally:
        stack.resume("kafka")


async def failure(task: asyncio.Task[None]) -> BaseException | None:
    """Wait for a task and return what it failed with."""
    await asyncio.wait([task])
    return task.exception()


def in_order(settings: Settings, topic: str) -> dict[bytes, list[int]]:
    """Return every user's numbers in the order of the log, as the gate takes them: once."""
    return {user: list(dict.fromkeys(all_)) for user, all_ in stored(settings, topic).items()}


@pytest.mark.parametrize("away", [down, frozen])
def test_an_outage_in_the_middle(
    stack: Stack, own: Settings, topic: str, away: Callable[[Stack], AbstractContextManager[None]]
) -> None:
    async def run() -> None:
        async with delivering(own) as delivery:
            for first in range(0, 1_000, 50):
                await delivery.deliver(records(topic, first, 50))
            with away(stack):
                for first in range(1_000, 3_000, 50):
                    await delivery.deliver(records(topic, first, 50))
                assert delivery.readiness() == []
                assert "Kafka does not answer" in delivery.warnings()[0]
            for first in range(3_000, 6_000, 50):
                await delivery.deliver(records(topic, first, 50))
            await asyncio.to_thread(await_drained, own)
            for first in range(6_000, 7_000, 50):
                await delivery.deliver(records(topic, first, 50))
            await asyncio.to_thread(await_drained, own)
            assert delivery.warnings() == []

    asyncio.run(run())
    assert in_order(own, topic) == expected(7_000)


@pytest.mark.parametrize("away", [down, frozen])
def test_many_requests_are_in_flight_when_kafka_goes(
    stack: Stack, own: Settings, topic: str, away: Callable[[Stack], AbstractContextManager[None]]
) -> None:
    async def run() -> None:
        async with delivering(own) as delivery:
            await delivery.deliver(records(topic, 0, 50))
            with away(stack):
                many = range(50, 20_000, 50)
                await asyncio.gather(
                    *(delivery.deliver(records(topic, first, 50)) for first in many)
                )
            await asyncio.to_thread(await_drained, own)

    asyncio.run(run())
    assert in_order(own, topic) == expected(20_000)


def test_processes_share_it_and_one_is_killed(stack: Stack, own: Settings, topic: str) -> None:
    """A user's events go to any process, each after the one before it was acknowledged."""
    acknowledged: set[int] = set()

    with workers(own, 3) as started:

        def send(first: int, count: int) -> None:
            for number in range(first, first + count):
                worker = started[number % len(started)]
                if worker.deliver(records(topic, number * 10, 10)):
                    acknowledged.update(range(number * 10, number * 10 + 10))

        send(0, 30)
        with down(stack):
            send(30, 60)
            started[0].hand_over(records(topic, 900, 10))  # perhaps kept, never acknowledged
            started.pop(0).kill()
            send(91, 60)
        send(151, 60)
        await_drained(own)
        send(211, 30)
        await_drained(own)  # a slow answer of Kafka sends even these through the spool
        assert acknowledged == set(range(2_410)) - set(range(900, 910))
    found = in_order(own, topic)
    assert {number for numbers in found.values() for number in numbers} >= acknowledged
    assert found == {user: sorted(numbers) for user, numbers in found.items()}


def test_what_a_killed_process_left_is_sent_by_the_next(
    stack: Stack, own: Settings, topic: str
) -> None:
    with down(stack), workers(own, 1) as (worker,):
        assert worker.deliver(records(topic, 0, 1_000))
        worker.kill()
        with workers(own, 1) as (next_one,):
            assert next_one.deliver(records(topic, 1_000, 1_000))
    with workers(own, 1):
        await_drained(own)
    assert in_order(own, topic) == expected(2_000)


def test_a_topic_that_gets_more_partitions_meanwhile(
    stack: Stack, own: Settings, topic: str
) -> None:
    async def run() -> None:
        with down(stack):
            async with delivering(own) as delivery:
                await delivery.deliver(records(topic, 0, 1_000))
        more = NewPartitions(topic, own.topic_partitions + 3)
        admin = kafka.admin(own)  # lives until the answer is there
        admin.create_partitions([more])[topic].result(30)
        async with delivering(own) as delivery:
            await delivery.deliver(records(topic, 1_000, 1_000))
            await asyncio.to_thread(await_drained, own)

    asyncio.run(run())
    assert in_order(own, topic) == expected(2_000)


def test_a_full_spool_refuses_until_it_is_drained(stack: Stack, own: Settings, topic: str) -> None:
    own = own.model_copy(update={"ingestion_spool_bytes": 20_000})
    kept = 0

    async def run() -> None:
        nonlocal kept
        async with delivering(own) as delivery:
            with down(stack):
                with pytest.raises(ProblemError) as caught:  # noqa: PT012
                    while True:
                        await delivery.deliver(records(topic, kept, 70))
                        kept += 70
                assert (caught.value.status, caught.value.code) == (503, "unavailable")
                assert caught.value.retry_after
                assert "full" in delivery.readiness()[0]
            await asyncio.to_thread(await_drained, own)
            assert delivery.readiness() == []
            await delivery.deliver(records(topic, kept, 70))
            await asyncio.to_thread(await_drained, own)

    asyncio.run(run())
    assert kept
    assert in_order(own, topic) == expected(kept + 70)


def test_what_is_under_way_is_bounded(
    stack: Stack, own: Settings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "LARGEST_UNDER_WAY", 2_000)
    monkeypatch.setattr(deliveries, "ROOM_SECONDS", 0.5)
    patient = own.model_copy(update={"ingestion_kafka_seconds": 300.0})

    async def run() -> list[bool]:
        async with delivering(patient) as delivery:
            await delivery.deliver(records(topic, 0, 100))
            with frozen(stack):
                many = [records(topic, first, 100) for first in range(100, 5_000, 100)]
                asked = [asyncio.create_task(delivery.deliver(batch)) for batch in many]
                refused = [
                    task for task in asked[10:] if isinstance(await failure(task), Exception)
                ]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert len(refused) == len(asked) - 10
            return [answer is None for answer in answers]

    taken = asyncio.run(run())
    assert 0 < sum(taken) <= 10
    numbers = {
        n
        for batch, is_taken in enumerate([True, *taken])
        if is_taken
        for n in range(batch * 100, batch * 100 + 100)
    }
    assert {n for user in in_order(own, topic).values() for n in user} == numbers


def test_an_event_that_kafka_refuses_for_good_is_kept_aside(
    stack: Stack, own: Settings, topic: str
) -> None:
    narrow = f"{topic}-narrow"
    kafka.ensure_topic(own, narrow, **{"max.message.bytes": "10000"})
    large = Record(narrow, b"1", os.urandom(20_000), [("source", b"\xfftest")])

    async def run() -> list[str]:
        async with delivering(own) as delivery:
            with down(stack):
                await delivery.deliver([*records(topic, 0, 70), large])
                await delivery.deliver([large, *records(narrow, 70, 70)])
            await asyncio.to_thread(await_drained, own)
            return delivery.warnings()

    (warning,) = asyncio.run(run())
    path = spools.folder(own) / REFUSED_FILE
    assert str(path) in warning
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one["topic"], one["reason"]) for one in kept] == [
        (narrow, "Broker: Message size too large")
    ] * 2
    assert in_order(own, topic) == expected(70)
    assert {n for numbers in in_order(own, narrow).values() for n in numbers} == set(range(70, 140))
