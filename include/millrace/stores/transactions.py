"""Kafka transactions that carry their own place: messages and progress are written together.

A stream of items is sent in order; with every transaction goes, as a committed offset of a
consumer group, how far the stream has come. A crash leaves either both or neither, so a stream
that is taken up again goes on exactly where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from millrace.settings import Settings
from millrace.stores import kafka

MOVING = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
)
REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError._INVALID_ARG,
        KafkaError._UNKNOWN_PARTITION,
    }
)
"""Errors that a message itself is the cause of; it would be refused again and again."""

BY_KEY = -1
"""In place of a partition: the one that the message's key has now (any, where it has no key)."""

TRANSACTION_MESSAGES = 5_000
TRANSACTION_BYTES = 16 << 20
LARGEST_MESSAGE = kafka.LARGEST_MESSAGE_BYTES + (1 << 20)
"""Above the largest message that a source's topic takes, in bytes, since headers are added."""


class RefusedError(RuntimeError):
    """Kafka, or its client, will never take a message; the text says why."""


@dataclass(frozen=True)
class Item:
    """A message to send, and the place that its stream has reached once it is sent."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes | None]]
    place: TopicPartition


Refused = Callable[[Item, str], None]
"""Is told of a message that can't be sent, and why."""


class Stream:
    """A named stream of messages, each sent exactly once.

    Opening it fences whoever else holds the name (a zombie's transaction is aborted), after which
    ``places`` is the truth. Raises ``confluent_kafka.KafkaException`` when the broker refuses.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self.name = name
        self._settings = settings
        self._failures: list[KafkaError] = []
        self._producer = self._open()
        self._group = kafka.consumer(settings, name)

    def _open(self) -> Producer:
        producer = kafka.producer(
            self._settings,
            **{"transactional.id": self.name, "message.max.bytes": LARGEST_MESSAGE},
        )
        producer.init_transactions(60)
        return producer

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

    def send(self, items: Iterable[Item], refused: Refused) -> int:
        """Send items in transactions of limited size; return how many were sent.

        A message that Kafka will never take is found by halving its transaction; ``refused`` is
        told of it, and the stream goes on behind it. Raises ``confluent_kafka.KafkaException``
        when anything else goes wrong; what was committed before stays, with its places.
        """
        sent = 0
        for chunk in _chunks(items):
            pieces = [chunk]
            while pieces:
                piece = pieces.pop()
                try:
                    self._transact(piece, piece)
                except RefusedError as error:
                    self._producer = self._open()  # the old one counts on what was refused
                    half = len(piece) // 2
                    if half:
                        pieces += [piece[half:], piece[:half]]
                        continue
                    refused(piece[0], str(error))
                    self._transact([], piece)
                else:
                    sent += len(piece)
        return sent

    def _transact(self, items: Sequence[Item], passed: Sequence[Item]) -> None:
        """Send ``items`` in one transaction, and with it that the stream got past ``passed``.

        Raises ``RefusedError`` when one of the messages can't be sent at all.
        """
        self._failures.clear()
        self._producer.begin_transaction()
        try:
            for item in items:
                self._produce(item)
            self._producer.flush(120)
            self._raise_failure()
            places = {(i.place.topic, i.place.partition): i.place for i in passed}
            self._producer.send_offsets_to_transaction(
                list(places.values()), self._group.consumer_group_metadata(), 60
            )
            self._producer.commit_transaction(120)
        except BaseException:
            self._producer.abort_transaction(60)
            raise

    def _produce(self, item: Item) -> None:
        while True:
            try:
                self._producer.produce(
                    item.topic,
                    value=item.value,
                    key=item.key,
                    partition=item.partition,
                    headers=item.headers,
                    on_delivery=self._note,
                )
            except BufferError:
                self._producer.poll(1)
            except KafkaException as error:
                self._failures.append(error.args[0])
                self._raise_failure()
            except (TypeError, ValueError) as error:  # nothing that the client could send
                raise RefusedError(str(error)) from error
            else:
                return

    def _note(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failures.append(error)

    def _raise_failure(self) -> None:
        """Raise what went wrong: ``RefusedError`` if it was a message, else ``KafkaException``."""
        for error in self._failures:
            if error.code() in REFUSALS:
                raise RefusedError(error.str())
        if self._failures:
            raise KafkaException(self._failures[0])

    def close(self) -> None:
        """Give the connections back."""
        self._group.close()


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
