"""What waits in the spool goes to Kafka, in order."""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from millrace.api.ingestion import producing
from millrace.api.ingestion.spool import DamagedError, Frame, Record, Spool
from millrace.settings import Settings

LOOK_SECONDS = 0.05
"""How often is looked whether something waits."""
AGAIN_SECONDS = 1.0
"""How long after an error everything that is not acknowledged is sent again."""
UNKNOWN_SECONDS = 60.0
"""How long a topic must be unknown before what is for it is kept aside."""
REFUSED_FILE = "refused.jsonl"

log = logging.getLogger(__name__)


class _AgainError(Exception):
    """The producer lost something, or was told to end: all that is in flight is sent again."""


class _InFlight:
    """A frame that was handed to the producer."""

    __slots__ = ("end", "left")

    def __init__(self, frame: Frame) -> None:
        self.end = frame.end
        self.left = len(frame.records)


class Drainer:
    """Sends what waits in the spool, if no other process does, in a thread of its own.

    It begins behind the last frame all of which Kafka has acknowledged. So after an error, or
    when the process that drained was killed, some events are sent a second time: the gate refuses
    those as ``duplicate_event_id``. The order of a user's first ones stays.
    """

    def __init__(self, settings: Settings, spool: Spool) -> None:
        self._settings = settings
        self._spool = spool
        self._refused_file = spool.folder / REFUSED_FILE
        self._in_flight: deque[_InFlight] = deque()
        self._unknown_since: dict[str, float] = {}
        self._singly_until = 0
        self._is_single = False
        self._error = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what Kafka has not acknowledged stays in the spool."""
        self._stopping.set()
        self._thread.join()

    def warnings(self) -> list[str]:
        """Say, a sentence each, what somebody should look at."""
        kept = [self._refused_file, *sorted(self._spool.folder.glob("*.damaged"))]
        return [
            f"{path} holds events that were acknowledged and can't be stored; see "
            "docs/decisions/0024-ingestion-spool.md."
            for path in kept
            if path.exists()
        ]

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            if self._spool.is_empty or not self._spool.begin_draining():
                continue
            try:
                self._drain()
            except DamagedError as error:
                aside = self._spool.skip_damaged()
                log.error("%s; it is kept as %s", error, aside)
            except (_AgainError, OSError, KafkaException) as error:
                if not self._stopping.is_set():
                    log.warning("draining the spool begins again: %s", error)
                self._stopping.wait(AGAIN_SECONDS)
            except Exception:
                log.exception("draining the spool failed; it begins again")
                self._stopping.wait(AGAIN_SECONDS)
            else:
                self._unknown_since.clear()

    def _drain(self) -> None:
        """Send until nothing waits, with a producer that waits for Kafka as long as it takes."""
        self._is_single = bool(self._singly_until)
        producer = producing.producer(
            self._settings,
            **{
                "message.timeout.ms": 0,
                "queue.buffering.max.messages": 100_000,
                "queue.buffering.max.kbytes": 64 << 10,
                **({"batch.num.messages": 1} if self._is_single else {}),
            },
        )
        self._in_flight.clear()
        self._error = ""
        position: int | None = None
        try:
            while self._in_flight or not self._spool.is_empty:
                if self._is_single and self._spool.drained_to >= self._singly_until:
                    self._singly_until = 0
                    raise _AgainError("the rest goes in batches")
                try:
                    for frame in self._spool.frames(position):
                        self._send(producer, frame)
                        position = frame.end
                except DamagedError:
                    if not self._in_flight:  # everything before it is in Kafka
                        raise
                self._wait(producer, 0.01)
            self._spool.tidy()
        finally:
            producer.purge()

    def _send(self, producer: Producer, frame: Frame) -> None:
        sent = _InFlight(frame)
        self._in_flight.append(sent)
        report = self._reporter(sent)
        produce = producer.produce
        for topic, key, value, headers in frame.records:
            while True:
                try:
                    produce(topic, value, key, on_delivery=report, headers=headers)
                except BufferError:
                    self._wait(producer, 0.05)
                except KafkaException as error:
                    self._fail(producing.cause(error), Record(topic, key, value, headers))
                    sent.left -= 1
                    break
                else:
                    break
        self._wait(producer, 0)

    def _wait(self, producer: Producer, seconds: float) -> None:
        """Take acknowledgements, and note how far everything is acknowledged."""
        producer.poll(seconds)
        if self._error or self._stopping.is_set():
            raise _AgainError(self._error)
        reached = None
        while self._in_flight and not self._in_flight[0].left:
            reached = self._in_flight.popleft().end
        if reached is not None:
            self._spool.drained(reached, time.monotonic())

    def _reporter(self, sent: _InFlight) -> Callable[[KafkaError | None, Message], None]:
        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                key, value = message.key() or b"", message.value() or b""
                self._fail(error, Record(message.topic(), key, value, message.headers()))
            sent.left -= 1

        return report

    def _fail(self, error: KafkaError, record: Record) -> None:
        """Keep aside what Kafka refuses for good; else have everything sent again."""
        if self._is_final(error.code(), record.topic):
            _keep_aside(self._refused_file, record, error.str())
        else:
            self._error = error.str()

    def _is_final(self, code: int, topic: str) -> bool:
        if code == KafkaError.MSG_SIZE_TOO_LARGE and not self._is_single:
            # Kafka refuses a batch as a whole: sent one by one, it refuses the one that is meant.
            self._singly_until = self._spool.appended_to
            return False
        if code not in producing.UNKNOWN:
            return code in producing.REFUSED
        now = time.monotonic()
        return now - self._unknown_since.setdefault(topic, now) >= UNKNOWN_SECONDS


def _keep_aside(path: Path, record: Record, reason: str) -> None:
    """Append a record to the file of what Kafka refused, and say so."""
    encoded = {
        "reason": reason,
        "topic": record.topic,
        "key": base64.b64encode(record.key).decode(),
        "value": base64.b64encode(record.value).decode(),
        "headers": [
            [name, base64.b64encode(value or b"").decode()] for name, value in record.headers or ()
        ],
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(encoded) + "\n")
        file.flush()
        os.fsync(file.fileno())
    log.error("Kafka refuses an event for good (%s); it is kept in %s", reason, path)
