"""Kafka: clients with Millrace's guarantees set, and the topics it owns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec, TopicMetadata

from millrace import waiting
from millrace.settings import Settings

ANSWER_SECONDS = 15.0
"""How long a broker may take to answer at all."""

LARGEST_MESSAGE_BYTES = 16 << 20
"""The largest message that a source's topic takes."""


def admin(settings: Settings) -> AdminClient:
    """Return an admin client."""
    # Errors reach the caller as exceptions; the library's own lines on stderr say nothing more.
    return AdminClient(_access(settings) | {"log_level": 2})


def producer(settings: Settings, **overrides: object) -> Producer:
    """Return a producer that neither loses nor repeats: idempotent, ``acks=all``.

    ``overrides`` are librdkafka settings. The partitioner is Java's, so that every client sends a
    key to the same partition.
    """
    return Producer(
        {
            **_access(settings),
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "zstd",
            "linger.ms": 5,
            "partitioner": "murmur2_random",
            **overrides,
        }
    )


def consumer(settings: Settings, group: str, **overrides: object) -> Consumer:
    """Return a consumer of committed messages that is told its partitions and never subscribes.

    Offsets come from the ledger, so nothing is committed by itself; ``group`` is where the caller
    commits them for lag tools to see.
    """
    return Consumer(consumer_config(settings, group, **overrides))


def consumer_config(settings: Settings, group: str, **overrides: object) -> dict[str, object]:
    """Return what ``consumer`` makes its consumer of, as librdkafka's settings."""
    return {
        **_access(settings),
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.partition.eof": False,
        **overrides,
    }


def _access(settings: Settings) -> dict[str, Any]:
    """Return how every client reaches the brokers."""
    return settings.kafka_config | {"bootstrap.servers": settings.kafka_bootstrap_servers}


def ends(
    settings: Settings,
    partitions: Iterable[tuple[str, int]],
    *,
    timeout: float = 30,
    client: AdminClient | None = None,
) -> dict[tuple[str, int], int]:
    """Return where partitions (topic, number) end for a reader of what is committed.

    Who asks often brings a client. Nothing is returned for one that is gone. Raises
    ``confluent_kafka.KafkaException`` when no broker answers.
    """
    client = client or admin(settings)  # lives until the answer is there
    known = client.list_topics(timeout=timeout).topics
    asked = {
        TopicPartition(topic, number): OffsetSpec.latest()
        for topic, number in partitions
        if topic in known and number in known[topic].partitions
    }
    if not asked:
        return {}
    answers = client.list_offsets(
        asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=timeout
    )
    return {(p.topic, p.partition): answer.result().offset for p, answer in answers.items()}


def ensure_topic(
    settings: Settings, topic: str, *, partitions: int | None = None, **config: str
) -> bool:
    """Create ``topic`` unless it exists; return whether it was created.

    Raises ``confluent_kafka.KafkaException`` when the broker refuses, or does not answer.
    """
    wanted = NewTopic(
        topic,
        num_partitions=partitions or settings.topic_partitions,
        replication_factor=settings.topic_replication,
        config={
            "retention.ms": str(settings.topic_retention_hours * 3_600_000),
            "compression.type": "producer",
            "min.insync.replicas": "2" if settings.topic_replication >= 3 else "1",
            "max.message.bytes": str(LARGEST_MESSAGE_BYTES),
            **config,
        },
    )
    client = admin(settings)  # lives until the answer is there
    client.list_topics(timeout=ANSWER_SECONDS)  # creating one would wait for a minute
    try:
        client.create_topics([wanted], operation_timeout=30)[topic].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise
    # Created is not yet known: the broker learns of it a moment after the controller's answer.
    waiting.until(
        lambda: client.list_topics(timeout=30).topics.get(topic, TopicMetadata()).partitions,
        f"a broker to serve topic {topic!r}",
        seconds=30,
        every=0.05,
        hint="it was created; try again",
    )
    return True
