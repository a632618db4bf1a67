"""What strangers write to a topic, made from a seed: any bytes wherever Kafka takes bytes.

Clients of ours send valid UTF-8 for the names of headers and the time of sending for the time of a
message; other people's send what they like, and the broker keeps it. What must become of each
message is noted as it is written, from the documentation and not from the gate's code.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaException, Message, Producer, TopicCollection
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from millrace.lab.simulate.faults import iso
from millrace.lab.simulate.manifest import Manifest, ranges_of
from millrace.lab.simulate.record_batches import CODECS, BatchProducer, Record, RefusedError
from millrace.settings import Settings
from millrace.stores import kafka

ODD_TIMES = (-1, 0, 1, 1_772_359_200, 1_772_359_200_000_000, 32_503_680_000_000, 2**62, 253**7)
"""In place of milliseconds: none, 1970, seconds, microseconds, the year 3000, and beyond."""

NAMES = (b"trace\xff", b"\xed\xa0\x80", b"", "é".encode(), b"traceparent", b"\xc3", b"a" * 300)
USERS = {
    b"1": 1,
    b"12e2": 1_200,
    b"9007199254740993": 2**53 + 1,
    b"12345678901234568.0": 12_345_678_901_234_568,
    b"18446744073709551615": 2**64 - 1,
    b'"18446744073709551615"': 2**64 - 1,
}
"""Users as a message may spell them, and who they are."""

NO_USERS = (b"12345678901234567.0", b"0.99999999999999999", b"18446744073709551616", b"-1", b"true")
PAGES = ("", "/", "/é", "/%00", "/'\\", "/\0", "/\U0001f600")
EXTRAS = (b'"": ""', b'"\\u0000": "\\u0000"', '"é": [1, {}]'.encode(), b'"n": 1e999', b'"d": null')
DEEP = b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}"
UNREADABLE = (b"{", b"[]", b"\0", b"\xff", b'{"x": "\\ud800"}', b'{"x": "\xed\xa0\x80"}', DEEP)
BLANK = (None, b"", b" \r\n\t")

BATCH_RECORDS = 400
REMEMBERED = 1_000
"""So many events are remembered for copies to be made of them."""

TRANSACTION_SECONDS = 120.0
ANY_TIME = str(2**63 - 1)

Event = tuple[str, int, str, int, str, str, str]
"""An event as its row must be: id, time in ms, type, user, page, country, device."""


@dataclass(frozen=True)
class Written:
    """What a stranger writes: its value, and the event that it is or why it is to be rejected.

    Of a message with neither nobody knows beforehand.
    """

    value: bytes | None
    event: Event | None = None
    reason: str = ""


Foreign = Callable[[random.Random], bytes | None]
"""Makes a value of which nothing is known beforehand."""


class Strangers:
    """Writes to a topic, and knows where each message is, what it holds and what becomes of it.

    Nothing is written twice or unnoticed, whatever happens to the broker. ``foreign`` mixes in
    values whose verdict nobody knows beforehand; there is no manifest then.
    """

    def __init__(
        self, settings: Settings, topic: str, seed: int, foreign: Foreign | None = None
    ) -> None:
        self._settings, self._topic, self._seed = settings, topic, seed
        self._rng = random.Random(seed)
        self._foreign = foreign
        self._began = datetime.now(UTC)
        take_any_time(settings, topic)
        admin = kafka.admin(settings)  # held until it has answered: its end cancels what it asked
        described = admin.describe_topics(TopicCollection([topic]))[topic].result(timeout=30)
        self._topic_id = str(described.topic_id)
        self._partitions = len(described.partitions)
        self._batches = BatchProducer(settings.kafka_bootstrap_servers, topic)
        self._transactions = self._open()
        self._copied: list[Written] = []
        self.sent: dict[tuple[int, int], int] = {}
        self.sound: dict[tuple[int, int], Event] = {}
        self.rejected: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.bytes_sent = 0

    def close(self) -> None:
        """End the connection."""
        self._batches.close()

    def write(self, count: int) -> None:
        """Write so many messages, in batches of any size and codec, and transactions between.

        Raises ``OSError`` or ``KafkaException`` when the broker is away for minutes.
        """
        until = len(self.sent) + count
        while len(self.sent) < until:
            self._batch(min(self._rng.randrange(1, BATCH_RECORDS), until - len(self.sent)))
            if self._rng.random() < 0.3:
                self._transaction()
        self._empty_batch()

    def manifest(self) -> Manifest:
        """Return what was written and what must become of it."""
        if self._foreign is not None:
            raise ValueError("what becomes of foreign values is not known beforehand")
        groups = Counter((e[1] // 60_000, e[5], e[6], e[2]) for e in self.sound.values())
        content: Counter[int] = Counter()
        for (partition, _), mark in self.sent.items():
            content[partition] += mark
        return Manifest(
            run_id=f"{self._began:%Y%m%dT%H%M%S}-strangers-{self._seed}",
            seed=self._seed,
            topic=self._topic,
            topic_id=self._topic_id,
            started_at=iso(self._began),
            finished_at=iso(datetime.now(UTC)),
            sent=len(self.sent),
            bytes_sent=self.bytes_sent,
            accepted=len(self.sound),
            duplicates=self.rejected["duplicate_event_id"],
            rejected=dict(sorted(self.rejected.items())),
            kinds=dict(sorted(self.kinds.items())),
            pages=dict(Counter(event[4] for event in self.sound.values())),
            positions=ranges_of(self.sent),
            events=[[*group, count] for group, count in sorted(groups.items())],
            rows=[list(event) for event in self.sound.values()],
            content={str(p): total % 2**64 for p, total in sorted(content.items())},
        )

    def _note(self, partition: int, offset: int, written: Written, mark: int) -> None:
        self.sent[partition, offset] = mark
        self.bytes_sent += len(written.value or b"")
        if written.event is not None:
            self.sound[partition, offset] = written.event
            self._copied = [*self._copied[-REMEMBERED:], written]
        elif written.reason:
            self.rejected[written.reason] += 1

    def _batch(self, size: int) -> None:
        partition = self._rng.randrange(self._partitions)
        codec = self._rng.choice(list(CODECS))
        written = [self._written() for _ in range(size)]
        records = [self._record(one.value) for one in written]
        first = self._batches.send(partition, records, codec)
        for offset, (one, record) in enumerate(zip(written, records, strict=True), first):
            self._note(partition, offset, one, digest_of(record))
        self.kinds[codec] += size

    def _record(self, value: bytes | None) -> Record:
        rng = self._rng
        time = _now() if rng.random() < 0.8 else rng.choice(ODD_TIMES)
        key = rng.choice([None, b"", rng.randbytes(4), str(rng.randrange(9_000)).encode()])
        return Record(value, key, self._headers(), time)

    def _written(self) -> Written:
        rng = self._rng
        kind = rng.random()
        if kind < 0.6:
            return self._event()
        if self._foreign is not None:
            return Written(None if rng.random() < 0.1 else self._foreign(rng))
        if kind < 0.7:
            return Written(rng.choice(BLANK), reason="empty_message")
        if kind < 0.8:
            return Written(rng.choice(UNREADABLE), reason="malformed_json")
        if kind < 0.9 or not self._copied:
            return self._event(no_user=rng.choice(NO_USERS))
        return Written(rng.choice(self._copied).value, reason="duplicate_event_id")

    def _event(self, no_user: bytes | None = None) -> Written:
        """Make an event, or one that is none for its user alone."""
        rng, now = self._rng, _now()
        event_id = str(uuid.UUID(int=rng.getrandbits(128)))
        event_type = rng.choice(["click", "page_view"])
        page, country = rng.choice(PAGES), rng.choice(["NZ", "DE"])
        fields: dict[str, Any] = {
            "event_id": rng.choice([event_id, event_id.upper(), event_id.replace("-", "")]),
            "event": event_type,
            "timestamp": iso(datetime.fromtimestamp(now / 1000, UTC)),
            "page": page,
            "country": country,
            "device": "mobile",
        }
        number = rng.randrange(2**53, 2**64)
        user, number = rng.choice([*USERS.items(), (b"%d" % number, number)])
        text = json.dumps(fields, ensure_ascii=rng.random() < 0.5).encode()
        value = b'%b, "user_id": %b, %b}' % (text[:-1], no_user or user, rng.choice(EXTRAS))
        if no_user is not None:
            return Written(value, reason="invalid_type")
        return Written(value, (event_id, now, event_type, number, page, country, "mobile"))

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

    def _open(self) -> Producer:
        producer = kafka.producer(
            self._settings, **{"transactional.id": f"strangers.{self._topic}", "log_level": 2}
        )
        producer.init_transactions(TRANSACTION_SECONDS)
        return producer

    def _transaction(self) -> None:
        """Write a few events in a transaction, and commit it or not."""
        rng, producer = self._rng, self._transactions
        partition = rng.randrange(self._partitions)
        written = [self._event() for _ in range(rng.randrange(1, 5))]
        is_wanted = rng.random() < 0.5
        offsets: list[int] = []

        def report(error: object, message: Message) -> None:
            offset = message.offset()
            if error is None and offset is not None:
                offsets.append(offset)

        producer.begin_transaction()
        for one in written:
            producer.produce(self._topic, one.value, partition=partition, on_delivery=report)
        producer.flush(TRANSACTION_SECONDS)
        if not (is_wanted and len(offsets) == len(written) and _is_committed(producer)):
            _insist(lambda: producer.abort_transaction(TRANSACTION_SECONDS))
            self.kinds["aborted"] += len(written)
            return
        self.kinds["committed"] += len(written)
        for offset, one in zip(offsets, written, strict=True):
            self._note(partition, offset, one, digest_of(Record(one.value)))

    def _empty_batch(self) -> None:
        try:
            self._batches.send(0, [])
        except RefusedError:
            self.kinds["empty batches refused"] += 1
        else:
            self.kinds["empty batches"] += 1


def take_any_time(settings: Settings, topic: str) -> None:
    """Have a topic take messages of any time, and keep them whatever their time is."""
    config = {
        "message.timestamp.before.max.ms": ANY_TIME,
        "message.timestamp.after.max.ms": ANY_TIME,
        "retention.ms": "-1",
    }
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    admin = kafka.admin(settings)
    admin.incremental_alter_configs([resource])[resource].result(30)


def digest(key: bytes, value: bytes, headers: bytes) -> int:
    """Return what a message as ``raw_events`` keeps it is known by."""
    whole = b"%d:%b%d:%b%b" % (len(key), key, len(value), value, headers)
    return int.from_bytes(hashlib.sha256(whole).digest()[:8], "little")


def digest_of(record: Record) -> int:
    """Return the digest of a record as the warehouse keeps it, which knows no null but empty."""
    kept = [_kept_header(name, value) for name, value in record.headers]
    headers = json.dumps(kept, separators=(",", ":")).encode() if kept else b""
    return digest(record.key or b"", record.value or b"", headers)


def _kept_header(name: bytes, value: bytes | None) -> list[str | None]:
    """Spell a header as docs/reference says that it is kept; not by the code that keeps it."""
    content = None if value is None else base64.b64encode(value).decode()
    shown = name.decode(errors="replace")
    if shown.encode() == name:
        return [shown, content]
    return [shown, content, base64.b64encode(name).decode()]


def _is_committed(producer: Producer) -> bool:
    """Commit; return whether it was. An answer that does not come is waited for."""
    try:
        _insist(lambda: producer.commit_transaction(TRANSACTION_SECONDS))
    except KafkaException as error:
        if not error.args[0].txn_requires_abort():
            raise
        return False
    return True


def _insist(call: Callable[[], None]) -> None:
    """Call again while the client says that it is to be called again."""
    while True:
        try:
            return call()
        except KafkaException as error:
            if not error.args[0].retriable():
                raise


def _now() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)
