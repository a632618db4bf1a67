"""Kafka's own word: how far a topic reaches, and which offsets hold messages at all."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import IsolationLevel, KafkaError, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec

from millrace.settings import Settings
from millrace.stores import kafka

TIMEOUT = 30.0


@dataclass(frozen=True)
class Extent:
    """The offsets of a partition that Kafka holds: the first, and the one after the last.

    The end is that of committed messages, since ingest reads no others.
    """

    first_offset: int
    next_offset: int


class Log:
    """A topic, as the oracle reads it; asks nothing of ingest and commits nothing."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self.settings = settings
        self.topic = topic
        self.admin = kafka.admin(settings)

    def topic_id(self) -> str:
        """Return Kafka's own id of the topic; raises ``KafkaException`` when it is gone."""
        described = self.admin.describe_topics(TopicCollection([self.topic]))[self.topic]
        return str(described.result(timeout=TIMEOUT).topic_id)

    def extents(self) -> dict[int, Extent]:
        """Return what each partition holds."""
        partitions = self.admin.list_topics(self.topic, timeout=TIMEOUT).topics[self.topic]
        both = []
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):
            asked = {TopicPartition(self.topic, p): spec for p in partitions.partitions}
            answers = self.admin.list_offsets(
                asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT
            )
            both.append({at.partition: answer.result().offset for at, answer in answers.items()})
        first, after = both
        return {partition: Extent(first[partition], after[partition]) for partition in first}

    def messages(
        self, partition: int, first: int, after: int, *, younger_than_ms: int = 0
    ) -> list[int]:
        """Return the offsets in ``[first, after)`` at which there is a committed message.

        The others are control records, aborted transactions or compacted away.
        ``younger_than_ms`` leaves out messages that Kafka got before that time (ms since 1970).
        """
        consumer = kafka.consumer(
            self.settings, "millrace.lab.verify", **{"enable.partition.eof": True}
        )
        found: list[int] = []
        try:
            consumer.assign([TopicPartition(self.topic, partition, first)])
            while True:
                message = consumer.poll(TIMEOUT)
                if message is None:
                    raise TimeoutError(
                        f"Kafka sent nothing of {self.topic}/{partition} from offset {first} on "
                        f"for {TIMEOUT:.0f} s; check the broker and verify again"
                    )
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    return found
                if error is not None:
                    raise RuntimeError(f"reading {self.topic}/{partition}: {error.str()}")
                offset = message.offset()
                if offset is None or offset >= after:
                    return found
                if message.timestamp()[1] >= younger_than_ms:
                    found.append(offset)
        finally:
            consumer.close()
