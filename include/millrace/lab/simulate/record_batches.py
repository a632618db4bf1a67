"""Record batches written by hand and produced to Kafka as they are, whatever they hold.

No client library sends a header whose name is not UTF-8, a null header name's neighbour, or a
timestamp of its producer's invention; other people's producers do.
"""

from __future__ import annotations

import gzip
import socket
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

T = TypeVar("T")

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
PRODUCE, PRODUCE_VERSION = 0, 7
INIT_PRODUCER, INIT_PRODUCER_VERSION = 22, 0
MAGIC = 2
PASSING = frozenset({3, 5, 6, 7, 8, 13, 14, 15, 16, 19, 20, 56})
"""Kafka's errors while a broker starts or its partitions have no leader."""
LZ4_FRAME = bytes.fromhex("04224d18607073")
"""How a frame of independent blocks of up to 4 MiB begins; Kafka takes no other."""


@dataclass(frozen=True)
class Record:
    """A message as bytes; ``timestamp`` is in whatever unit its producer took for milliseconds."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[bytes, bytes | None]] = field(default=())
    timestamp: int = 0


@dataclass(frozen=True)
class Sequenced:
    """What a broker knows a repeated batch by: its producer, and its first record's number."""

    producer_id: int
    epoch: int
    sequence: int


NOT_IDEMPOTENT = Sequenced(-1, -1, -1)


class RefusedError(RuntimeError):
    """The broker did not take a batch; ``code`` is Kafka's number for why."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(f"{what}: Kafka's error {code}")
        self.code = code


def batch(records: Sequence[Record], codec: str = "none", by: Sequenced = NOT_IDEMPOTENT) -> bytes:
    """Return a record batch (message format 2)."""
    first = records[0].timestamp if records else 0
    last = max((one.timestamp for one in records), default=0)
    body = b"".join(_record(one, at, first) for at, one in enumerate(records))
    if codec == "gzip":
        body = gzip.compress(body)
    elif codec == "lz4":
        block = pa.compress(body, codec="lz4_raw", asbytes=True)
        body = LZ4_FRAME + struct.pack("<I", len(block)) + block + bytes(4)
    elif codec != "none":
        body = pa.compress(body, codec=codec, asbytes=True)
    checked = (
        struct.pack(
            ">hiqqqhii",
            CODECS[codec],
            len(records) - 1,
            first,
            last,
            by.producer_id,
            by.epoch,
            by.sequence,
            len(records),
        )
        + body
    )
    tail = struct.pack(">ibI", -1, MAGIC, crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(tail)) + tail


def _record(record: Record, offset: int, first: int) -> bytes:
    body = b"\0" + _varint(record.timestamp - first) + _varint(offset)
    body += _sized(record.key) + _sized(record.value) + _varint(len(record.headers))
    for name, value in record.headers:
        body += _sized(name) + _sized(value)
    return _varint(len(body)) + body


def _sized(content: bytes | None) -> bytes:
    return _varint(-1) if content is None else _varint(len(content)) + content


def _varint(number: int) -> bytes:
    rest = (number << 1) ^ (number >> 63)
    made = bytearray()
    while rest > 0x7F:
        made.append(rest & 0x7F | 0x80)
        rest >>= 7
    made.append(rest)
    return bytes(made)


def _table() -> list[int]:
    made = []
    for byte in range(256):
        remainder = byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
        made.append(remainder)
    return made


CRC = _table()


def crc32c(content: bytes) -> int:
    """Return the Castagnoli checksum, which record batches carry."""
    crc, table = 0xFFFFFFFF, CRC
    for byte in content:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class Connection:
    """A connection to the one broker, which leads every partition."""

    def __init__(self, bootstrap: str) -> None:
        host, port = bootstrap.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._number = 0

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def init_producer(self) -> tuple[int, int]:
        """Return a producer id and epoch of one's own. Raises ``RefusedError``."""
        body = struct.pack(">hi", -1, 60_000)  # no transactions, so their time-out says nothing
        answer = self._ask(INIT_PRODUCER, INIT_PRODUCER_VERSION, body)
        _, error, producer_id, epoch = struct.unpack_from(">ihqh", answer)
        if error:
            raise RefusedError("a producer id", error)
        return int(producer_id), int(epoch)

    def produce(self, topic: str, partition: int, content: bytes) -> int:
        """Send one batch; return the offset of its first record. Raises ``RefusedError``."""
        body = struct.pack(">hhi", -1, -1, 30_000) + struct.pack(">i", 1) + _string(topic)
        body += struct.pack(">ii", 1, partition) + struct.pack(">i", len(content)) + content
        answer = self._ask(PRODUCE, PRODUCE_VERSION, body)
        # One topic with one partition: its index, an error, and where the batch begins.
        at = 4 + 2 + len(topic.encode()) + 4
        _, error, offset = struct.unpack_from(">ihq", answer, at)
        if error:
            raise RefusedError(f"{topic}/{partition}", error)
        return int(offset)

    def _ask(self, api: int, version: int, body: bytes) -> bytes:
        self._number += 1
        head = struct.pack(">hhi", api, version, self._number) + _string("strangers")
        self._socket.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        (size,) = struct.unpack(">i", self._read(4))
        answer = self._read(size)
        return answer[4:]  # the request's number

    def _read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            piece = self._socket.recv(size - len(found))
            if not piece:
                raise ConnectionError("the broker closed the connection")
            found += piece
        return bytes(found)


class BatchProducer:
    """Sends batches to a topic, each exactly once, whatever happens to the broker meanwhile.

    A batch whose answer was lost is sent again under its number, by which the broker knows it.
    """

    def __init__(self, bootstrap: str, topic: str, *, patience_seconds: float = 300) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._connection: Connection | None = None
        self._sent: Counter[int] = Counter()
        self._insist = Retrying(
            retry=retry_if_exception(_is_passing),
            stop=stop_after_delay(patience_seconds),
            wait=wait_fixed(0.2),
            reraise=True,
        )
        self._producer_id, self._epoch = self._insist(self._begin)

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def send(self, partition: int, records: Sequence[Record], codec: str = "none") -> int:
        """Send one batch; return the offset of its first record.

        Raises ``RefusedError`` for a batch that the broker does not take, and ``OSError`` when
        none answers for longer than the patience given.
        """
        by = Sequenced(self._producer_id, self._epoch, self._sent[partition])
        content = batch(records, codec, by)
        offset = self._insist(self._produce, partition, content)
        self._sent[partition] += len(records)
        return offset

    def _begin(self) -> tuple[int, int]:
        return self._ask(Connection.init_producer)

    def _produce(self, partition: int, content: bytes) -> int:
        return self._ask(lambda broker: broker.produce(self._topic, partition, content))

    def _ask(self, request: Callable[[Connection], T]) -> T:
        """Ask over the connection at hand; one that failed is not used again."""
        if self._connection is None:
            self._connection = Connection(self._bootstrap)
        try:
            return request(self._connection)
        except BaseException:
            self.close()
            raise


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, OSError) or (isinstance(error, RefusedError) and error.code in PASSING)


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()
