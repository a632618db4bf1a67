"""Send simulated traffic at a rate, and keep count of what the broker acknowledged."""

from __future__ import annotations

import base64
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from confluent_kafka import KafkaError, Message, Producer, TopicCollection

from millrace.lab.simulate.faults import iso
from millrace.lab.simulate.manifest import Manifest, Tally
from millrace.lab.simulate.traffic import Chunk, Traffic, chunks
from millrace.settings import Settings
from millrace.stores import kafka

FULL_SPEED_CHUNK = 5_000
CHUNKS_PER_SECOND = 20
FLUSH_SECONDS = 3600


@dataclass(frozen=True)
class Plan:
    """What to simulate.

    ``rate`` is messages a second (0: as fast as possible), ``total`` the number of messages (0:
    until ``duration`` seconds are over). Events happen while they are sent, or, with ``start``,
    evenly over ``duration`` seconds from then on.
    """

    seed: int
    rates: dict[str, float]
    rate: float
    duration: float
    total: int = 0
    start: datetime | None = None

    def check(self, settings: Settings) -> None:
        """Raise ``ValueError`` for a plan that can't be carried out or verified."""
        if not (math.isfinite(self.rate) and math.isfinite(self.duration)):
            raise ValueError("rate and duration must be numbers")
        if self.rate < 0 or self.duration <= 0 or self.total < 0:
            raise ValueError("rate and events must not be negative, and duration must be positive")
        if self.start is None:
            return
        if not self.messages:
            raise ValueError("with --start, give --rate or --events, to fix the number of messages")
        age = (datetime.now(UTC) - self.start).days
        if age >= settings.events_retention_days - 7:
            raise ValueError(
                f"--start lies {age} days back and late events up to 6 days further, but events "
                f"are kept for {settings.events_retention_days}; raise "
                "MILLRACE_EVENTS_RETENTION_DAYS or start later"
            )
        if self.start.timestamp() + self.duration > time.time() + 300:
            raise ValueError("--start plus --duration lies in the future; start earlier")

    @property
    def messages(self) -> int:
        """How many messages there are to send; 0 when only the clock ends the run."""
        return self.total or int(self.rate * self.duration)


class Sink(Protocol):
    """Where messages go."""

    def send(self, chunk: Chunk) -> None:
        """Hand over a chunk."""

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` pass while acknowledgements are taken."""

    def close(self, is_cancelled: Callable[[], bool]) -> None:
        """Wait until everything is acknowledged, or until cancelled."""


class KafkaSink:
    """A topic, reached through an idempotent producer that never gives a message up."""

    def __init__(self, settings: Settings, topic: str, tally: Tally) -> None:
        kafka.ensure_topic(settings, topic)
        admin = kafka.admin(settings)  # held until it has answered: its end cancels what it asked
        described = admin.describe_topics(TopicCollection([topic]))[topic].result(timeout=30)
        self.topic = topic
        self.topic_id = str(described.topic_id)
        self.tally = tally
        self.producer: Producer = kafka.producer(
            settings,
            **{
                "message.timeout.ms": 0,  # a broker may be away for as long as it likes
                "log_level": 2,  # … without a line on the terminal for every attempt to reconnect
                "message.max.bytes": kafka.LARGEST_MESSAGE_BYTES,
                "queue.buffering.max.messages": 400_000,
                "queue.buffering.max.kbytes": 512 << 10,
                "batch.num.messages": 20_000,
            },
        )

    def send(self, chunk: Chunk) -> None:
        """Queue a chunk; waits while the producer's queue is full."""
        produce, topic, delivered = self.producer.produce, self.topic, self.tally.delivered

        def report(error: KafkaError | None, message: Message) -> None:
            if error is None:
                delivered(message.partition(), message.offset())

        for key, value in zip(chunk.keys, chunk.values, strict=True):
            while True:
                try:
                    produce(topic, value, key, on_delivery=report)
                except BufferError:
                    self.producer.poll(0.1)
                else:
                    break
        self.producer.poll(0)

    def wait(self, seconds: float) -> None:
        """Serve delivery reports for ``seconds``."""
        self.producer.poll(seconds)

    def close(self, is_cancelled: Callable[[], bool]) -> None:
        """Wait for every acknowledgement; when cancelled, give up what is still unconfirmed."""
        deadline = time.monotonic() + FLUSH_SECONDS
        while self.producer.flush(0.2) and time.monotonic() < deadline:
            if is_cancelled():
                self.producer.purge()
                self.producer.flush(1)
                break


class FileSink:
    """A file of JSON lines, ``{"key": …, "value": …}`` with both in base64, since values may be any
    bytes; a tombstone's value is null. The offset is the line's number from 0.
    """  # noqa: D205

    topic_id = ""

    def __init__(self, path: Path, tally: Tally) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file: BinaryIO = path.open("wb")
        self.topic = str(path)
        self.tally = tally
        self.lines = 0

    def send(self, chunk: Chunk) -> None:
        """Append a chunk."""
        encode = base64.b64encode
        for key, value in zip(chunk.keys, chunk.values, strict=True):
            text = b"null" if value is None else b'"%b"' % encode(value)
            self.file.write(b'{"key":"%b","value":%b}\n' % (encode(key), text))
            self.tally.delivered(0, self.lines)
            self.lines += 1

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` pass: a file needs no pace, so there is nothing to wait for."""

    def close(self, is_cancelled: Callable[[], bool]) -> None:
        """Close the file."""
        self.file.close()


@contextmanager
def interrupts() -> Iterator[list[float]]:
    """Collect interrupts instead of dying from them, where signals may be handled at all."""
    seen: list[float] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = {
        number: signal.signal(number, lambda *_: seen.append(time.monotonic()))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def schedule(plan: Plan, traffic: Traffic, began: datetime) -> Iterator[Chunk]:
    """Yield the plan's chunks; those of an open-ended run carry the time they are made at."""
    size = FULL_SPEED_CHUNK
    if plan.rate:
        size = max(1, min(size, int(plan.rate / CHUNKS_PER_SECOND)))
    if plan.start is not None:
        yield from chunks(traffic, plan.start, plan.duration, plan.messages, size, began)
    elif plan.rate:
        seconds = plan.messages / plan.rate
        yield from chunks(traffic, began, seconds, plan.messages, size, began)
    else:
        left = plan.total or None
        until = time.monotonic() + plan.duration
        while left if left is not None else time.monotonic() < until:
            count = size if left is None else min(size, left)
            now = int(time.time() * 1000)
            yield traffic.chunk(now - 50, now, count, sent_at=began)
            left = None if left is None else left - count


def run(
    plan: Plan,
    settings: Settings,
    *,
    topic: str,
    file: Path | None = None,
    on_progress: Callable[[Tally], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Manifest:
    """Send what ``plan`` says to a topic (or a file) and return the manifest.

    An interrupt, or ``stop``, ends the sending; what was handed over is still waited for, until a
    second interrupt. Raises ``ValueError`` for an impossible plan and
    ``confluent_kafka.KafkaException`` when no broker answers at the start.
    """
    plan.check(settings)
    began = datetime.now(UTC)
    tag = iso(plan.start or began)
    traffic = Traffic(
        plan.seed,
        tag,
        plan.rates,
        message_max_bytes=settings.message_max_bytes,
        retention_days=settings.events_retention_days,
    )
    tally = Tally()
    sink: KafkaSink | FileSink
    sink = FileSink(file, tally) if file else KafkaSink(settings, topic, tally)
    manifest = Manifest(
        run_id=f"{began:%Y%m%dT%H%M%S}-{plan.seed}",
        seed=plan.seed,
        topic=sink.topic,
        topic_id=sink.topic_id,
        started_at=iso(began),
        options={
            "rate": plan.rate,
            "duration": plan.duration,
            "start": iso(plan.start) if plan.start else None,
            "faults": plan.rates,
            "message_max_bytes": settings.message_max_bytes,
            "events_retention_days": settings.events_retention_days,
        },
    )
    first = time.monotonic()
    reported_at = first
    with interrupts() as seen:
        for chunk in schedule(plan, traffic, began):
            if seen or (stop is not None and stop.is_set()):
                break
            if plan.rate:
                due = first + (tally.handed_over + len(chunk.values)) / plan.rate
                while (ahead := due - time.monotonic()) > 0 and not seen and not file:
                    sink.wait(min(ahead, 0.2))
            sink.send(chunk)
            tally.add(chunk)
            if time.monotonic() - reported_at > 0.5:
                reported_at = time.monotonic()
                on_progress(tally)
        sink.close(lambda: len(seen) > 1)
    manifest.finished_at = iso(datetime.now(UTC))
    tally.fill(manifest)
    on_progress(tally)
    return manifest
