"""What strangers write to a topic, made from a seed: any bytes wherever Kafka takes bytes."""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from collections import Counter
from datetime import UTC, datetime

from confluent_kafka import TopicPartition

from millrace.settings import Settings
from millrace.stores import headers, kafka
from tests.helpers.record_batches import CODECS, Connection, Record, RefusedError, batch
from tests.unit.rules import fuzz

ODD_TIMES = (-1, 0, 1, 1_772_359_200, 1_772_359_200_000_000, 32_503_680_000_000, 2**62, 253**7)
NAMES = (b"trace\xff", b"\xed\xa0\x80", b"", "é".encode(), b"traceparent", b"\xc3", b"a" * 300)
BATCH_RECORDS = 400


def digest(key: bytes, value: bytes, stored: bytes) -> bytes:
    """Return what a message as it is kept is known by."""
    parts = (len(key).to_bytes(4, "big"), key, len(value).to_bytes(4, "big"), value, stored)
    return hashlib.blake2b(b"".join(parts), digest_size=8).digest()


class Strangers:
    """Writes to a topic, and knows where each message is and what it holds.

    ``sent`` has the digest of each committed message by partition and offset, ``sound`` the places
    of events that nothing speaks against.
    """

    def __init__(self, settings: Settings, topic: str, partitions: int, seed: int) -> None:
        self._settings, self._topic, self._partitions = settings, topic, partitions
        self._rng = random.Random(seed)
        self._connection = Connection(settings.kafka_bootstrap_servers)
        self._transactions = kafka.producer(settings, **{"transactional.id": topic})
        self._transactions.init_transactions(30)
        self.sent: dict[tuple[int, int], bytes] = {}
        self.sound: set[tuple[int, int]] = set()
        self.written: Counter[str] = Counter()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def write(self, count: int) -> None:
        """Write so many messages, in batches of any size and codec, and transactions between."""
        until = len(self.sent) + count
        while len(self.sent) < until:
            self._batch(min(self._rng.randrange(1, BATCH_RECORDS), until - len(self.sent)))
            if self._rng.random() < 0.1:
                self._transaction()
        self._empty_batch()

    def delete_before(self, partition: int, offset: int) -> list[tuple[int, int]]:
        """Have Kafka delete a partition's messages before an offset; return which these were."""
        admin = kafka.admin(self._settings)
        place = TopicPartition(self._topic, partition, offset)
        admin.delete_records([place])[place].result(30)
        return [place for place in self.sent if place[0] == partition and place[1] < offset]

    def _batch(self, size: int) -> None:
        partition = self._rng.randrange(self._partitions)
        codec = self._rng.choice(list(CODECS))
        made = [self._record() for _ in range(size)]
        first = self._connection.produce(
            self._topic, partition, batch([record for record, _ in made], codec)
        )
        for offset, (record, is_sound) in enumerate(made, first):
            self.sent[partition, offset] = _kept(record)
            if is_sound:
                self.sound.add((partition, offset))
        self.written[codec] += size

    def _record(self) -> tuple[Record, bool]:
        rng = self._rng
        now = int(datetime.now(UTC).timestamp() * 1000)
        is_event = rng.random() < 0.6
        value = self._event(now) if is_event else self._value()
        is_timely = rng.random() < 0.8
        time = now if is_timely else rng.choice(ODD_TIMES)
        key = rng.choice([None, b"", rng.randbytes(4), str(rng.randrange(9_000)).encode()])
        return Record(value, key, self._headers(), time), is_event and is_timely

    def _event(self, now: int) -> bytes:
        event = {
            "event_id": str(uuid.UUID(int=self._rng.getrandbits(128))),
            "event": "click",
            "timestamp": datetime.fromtimestamp(now / 1000, UTC).isoformat(),
            "user_id": self._rng.randrange(1, 2**40),
        }
        return json.dumps(event).encode()

    def _value(self) -> bytes | None:
        if self._rng.random() < 0.1:
            return None
        # Beside a Kafka timestamp that is cut to the last moment, an event's is cut to the same.
        return fuzz.message(self._rng).replace(b"9999-12-31", b"later")

    def _headers(self) -> list[tuple[bytes, bytes | None]]:
        rng = self._rng
        if rng.random() < 0.6:
            return []
        return [
            (
                # The client library ends a name at its first NUL.
                rng.choice([*NAMES, rng.randbytes(6).replace(b"\0", b"\xff")]),
                rng.choice([None, b"", b"1", rng.randbytes(20)]),
            )
            for _ in range(rng.randrange(1, 5))
        ]

    def _transaction(self) -> None:
        """Write a few events in a transaction, and commit it or not."""
        delivered: list[tuple[int, int, bytes]] = []
        now = int(datetime.now(UTC).timestamp() * 1000)
        partition = self._rng.randrange(self._partitions)
        self._transactions.begin_transaction()
        for _ in range(self._rng.randrange(1, 5)):
            self._transactions.produce(
                self._topic,
                self._event(now),
                partition=partition,
                on_delivery=lambda error, message: delivered.append(
                    (message.partition(), message.offset(), message.value())
                ),
            )
        self._transactions.flush(30)
        if self._rng.random() < 0.5:
            self._transactions.abort_transaction(30)
            self.written["aborted"] += len(delivered)
            return
        self._transactions.commit_transaction(30)
        self.written["committed"] += len(delivered)
        for place, offset, value in delivered:
            self.sent[place, offset] = digest(b"", value, b"")
            self.sound.add((place, offset))

    def _empty_batch(self) -> None:
        try:
            self._connection.produce(self._topic, 0, batch([]))
        except RefusedError:
            self.written["empty batches refused"] += 1
        else:
            self.written["empty batches"] += 1


def _kept(record: Record) -> bytes:
    """Return the digest of a record as the warehouse keeps it, which knows no null but empty."""
    return digest(record.key or b"", record.value or b"", headers.encode(record.headers))
