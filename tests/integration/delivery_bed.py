"""Records to deliver, and what Kafka holds of them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from confluent_kafka import TopicPartition

from millrace import waiting
from millrace.api.ingestion.delivery import Delivery, Record
from millrace.api.ingestion.spool import Spool
from millrace.settings import Settings
from millrace.stores import kafka

USERS = 7


def new_topic(settings: Settings) -> str:
    """Make a topic that no other test uses."""
    name = f"delivery-{uuid.uuid4().hex[:8]}"
    kafka.ensure_topic(settings, name)
    return name


@asynccontextmanager
async def delivering(settings: Settings) -> AsyncIterator[Delivery]:
    """Have a delivery of its own."""
    delivery = Delivery(settings)
    await delivery.start()
    try:
        yield delivery
    finally:
        await delivery.close()


def records(topic: str, first: int, count: int) -> list[Record]:
    """Return numbered records of several users."""
    return [
        Record(topic, b"%d" % (n % USERS), b"%d" % n, [("source", b"test")])
        for n in range(first, first + count)
    ]


def stored(settings: Settings, topic: str) -> dict[bytes, list[int]]:
    """Return every user's numbers in the order of the log."""
    consumer = kafka.consumer(settings, "delivery-test")
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    found: dict[bytes, list[int]] = {}
    for (name, number), end in kafka.ends(settings, [(topic, p) for p in partitions]).items():
        consumer.assign([TopicPartition(name, number, 0)])
        while end and consumer.position([TopicPartition(name, number)])[0].offset < end:
            for message in consumer.consume(1000, timeout=0.2):
                found.setdefault(message.key(), []).append(int(message.value()))
    consumer.close()
    return found


def expected(count: int) -> dict[bytes, list[int]]:
    """Return what ``stored`` should find of so many numbers."""
    return {b"%d" % user: list(range(user, count, USERS)) for user in range(min(USERS, count))}


def await_drained(settings: Settings) -> None:
    """Wait until Kafka has all that the spool held; some process must be draining it."""
    spool = Spool(settings)
    waiting.until(lambda: spool.is_empty, "the spool to be drained", seconds=90)
    spool.close()
