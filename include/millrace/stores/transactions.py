"""Kafka transactions that carry their own place: messages and progress are written together.

A stream of items is sent in order; with every transaction goes, as a committed offset of a
consumer group, how far the stream has come. A crash leaves either both or neither, so a stream
that is taken up again goes on exactly where it stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from millrace.settings import Settings
from millrace.stores import kafka

log = logging.getLogger(__name__)

MOVING = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
)
TRANSACTION_MESSAGES = 5_000
TRANSACTION_BYTES = 16 << 20
LARGEST_MESSAGE = 17 << 20
"""Above the largest message that a source's topic takes (16 MiB), since headers are added."""


@dataclass(frozen=True)
class Item:
    """A message to send, and the place that its stream has reached once it is sent."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    place: TopicPartition


class Stream:
    """A named stream of messages, each sent exactly once.

    Opening it fences whoever else holds the name (a zombie's transaction is aborted), after which
    ``places`` is the truth. Raises ``confluent_kafka.KafkaException`` when the broker refuses.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self.name = name
        self._producer = kafka.producer(
            settings,
            **{"transactional.id": name, "message.max.bytes": LARGEST_MESSAGE},
        )
        self._producer.init_transactions(60)
        self._group = kafka.consumer(settings, name)

    def places(self, partitions: Sequence[TopicPartition]) -> dict[tuple[str, int], int]:
        """Return the place of each partition that has one."""
        if not partitions:
            return {}
        # A broker that just started has yet to find who coordinates the group.
        ask = Retrying(
            retry=retry_if_exception(_is_moving),
            stop=stop_after_delay(60),
            wait=wait_fixed(0.2),
            reraise=True,
        )
        found = ask(self._group.committed, list(partitions), timeout=30)
        return {(p.topic, p.partition): p.offset for p in found if p.offset >= 0}

    def send(self, items: Iterable[Item]) -> int:
        """Send items in transactions of limited size; return how many were sent.

        Raises ``confluent_kafka.KafkaException`` when a message or a commit is refused; what was
        committed before stays, with its places.
        """
        sent = 0
        for chunk in _chunks(items):
            self._producer.begin_transaction()
            try:
                for item in chunk:
                    self._produce(item)
                places = {(i.place.topic, i.place.partition): i.place for i in chunk}
                self._producer.send_offsets_to_transaction(
                    list(places.values()), self._group.consumer_group_metadata(), 60
                )
                self._producer.commit_transaction(120)
            except BaseException:
                self._producer.abort_transaction(60)
                raise
            sent += len(chunk)
        return sent

    def _produce(self, item: Item) -> None:
        while True:
            try:
                self._producer.produce(
                    item.topic,
                    value=item.value,
                    key=item.key,
                    partition=item.partition,
                    headers=item.headers,
                    on_delivery=_warn,
                )
            except BufferError:
                self._producer.poll(1)
            else:
                return

    def close(self) -> None:
        """Give the connections back."""
        self._group.close()


def _warn(error: object, message: Message) -> None:
    # The commit that follows raises; this says which message was at fault.
    if error is not None:
        log.error("message for %s was refused: %s", message.topic(), error)


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += len(item.value) + len(item.key or b"")
        if len(chunk) >= TRANSACTION_MESSAGES or size >= TRANSACTION_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _is_moving(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in MOVING
