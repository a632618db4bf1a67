"""What Kafka gets of a request, on librdkafka's broker for tests."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from millrace import waiting
from millrace.api.ingestion import producing
from millrace.api.ingestion.delivery import Delivery, Record
from millrace.settings import Settings

MOCK = {"test.mock.num.brokers": 1}


def test_records_arrive_whole_with_their_headers_and_no_time_of_the_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = producing.producer, list[Producer]()

    def producer(settings: Settings, **overrides: Any) -> Producer:
        made.append(real(settings, **overrides, **MOCK))
        return made[-1]

    monkeypatch.setattr(producing, "producer", producer)
    records = [
        Record("events", b"7", b'{"event_id": 1}', [("millrace", b"key request 1795939200000")]),
        Record("events", b"", b"", None),
    ]
    began = time.time() * 1000

    async def deliver() -> None:
        delivery = Delivery(Settings(home=tmp_path))
        await delivery.start()
        await delivery.deliver(records)
        brokers = made[0].list_topics(timeout=10).brokers
        address = ",".join(f"{one.host}:{one.port}" for one in brokers.values())
        await asyncio.to_thread(check, address, records, began)
        await delivery.close()

    asyncio.run(deliver())


def check(address: str, records: list[Record], began: float) -> None:
    """Read the topic and compare."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "g"})
    partitions = consumer.list_topics("events", timeout=10).topics["events"].partitions
    # The broker for tests keeps who subscribes waiting for three seconds.
    consumer.assign([TopicPartition("events", number, OFFSET_BEGINNING) for number in partitions])
    found: list[Any] = []

    def all_came() -> bool:
        found.extend(consumer.consume(10, timeout=0.2))
        return len(found) >= len(records)

    waiting.until(all_came, "the records to arrive", seconds=30)
    consumer.close()
    got = {(m.key(), m.value(), tuple(m.headers() or ())) for m in found}
    assert got == {(r.key, r.value, tuple(r.headers or ())) for r in records}
    assert all(began - 1000 < m.timestamp()[1] < time.time() * 1000 + 1000 for m in found)
