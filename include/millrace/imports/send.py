"""Import a file: every row once to Kafka, good ones as events, bad ones into a report."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import psycopg
from confluent_kafka import KafkaError, Message
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace.imports import files
from millrace.imports.files import Record
from millrace.imports.mapping import BadRowError, Converter, Mapping, MappingError, read_time
from millrace.settings import Settings
from millrace.stores import kafka, postgres

log = logging.getLogger(__name__)

CHECKPOINT_ROWS = 100_000
"""After so many rows everything sent is waited for, and the progress is recorded."""


@dataclass
class Outcome:
    """What became of a file's rows."""

    rows: int = 0
    sent: int = 0
    bad: int = 0
    skipped: int = 0
    report: Path | None = None
    finished_before: datetime | None = None


class ImportStoppedError(RuntimeError):
    """The broker refused a message; nothing is lost, the import can be run again."""


def shift_between(first: datetime, day: date) -> timedelta:
    """Return the whole days that move the first row's (UTC) day to ``day``."""
    return timedelta(days=(day - first.astimezone(UTC).date()).days)


def run(
    path: Path,
    mapping: Mapping,
    settings: Settings,
    *,
    topic: str,
    shift_to: date | None = None,
    on_progress: Callable[[Outcome, int | None], None] = lambda _outcome, _total: None,
) -> Outcome:
    """Send a file's rows to a topic, going on where an earlier import of it stopped.

    Raises ``MappingError`` when the mapping does not fit the file or its events would all be
    rejected, ``OSError`` when the file can't be read, and ``ImportStoppedError`` when the broker
    refuses a message.
    """
    names = files.columns(path)
    if not names:
        raise MappingError(f"{path} holds no rows")
    mapping.check_columns(names)
    digest = files.digest(path)
    shift = _shift(path, mapping, shift_to, settings)
    with postgres.connect(settings) as connection:
        _check_event_type(connection, mapping)
        kafka.ensure_topic(settings, topic)
        known = _begin(connection, digest, topic, path, mapping)
        if known["finished_at"] is not None:
            return Outcome(
                rows=known["rows_confirmed"],
                skipped=known["rows_confirmed"],
                bad=known["bad_rows"],
                finished_before=known["finished_at"],
            )
        converter = Converter(mapping, digest, shift)
        report = settings.home / "imports" / f"{path.name}.{digest.hex()[:8]}.bad_rows.csv"
        sender = _Sender(settings, topic, connection, digest, known, report)
        total = files.row_count(path)
        for record in files.records(path):
            sender.take(record, converter)
            if record.number % 2_000 == 0:
                on_progress(sender.outcome, total)
        sender.finish()
        on_progress(sender.outcome, total)
    return sender.outcome


class _Sender:
    """Sends rows, and records how far everything is acknowledged."""

    def __init__(
        self,
        settings: Settings,
        topic: str,
        connection: psycopg.Connection[DictRow],
        digest: bytes,
        known: dict[str, Any],
        report: Path,
    ) -> None:
        self.topic = topic
        self.connection = connection
        self.digest = digest
        self.done = int(known["rows_confirmed"])
        self.outcome = Outcome(sent=known["rows_sent"], bad=known["bad_rows"], skipped=self.done)
        self.report = report
        if self.outcome.bad and report.exists():
            self.outcome.report = report
        self.refusal: str = ""
        self.producer = kafka.producer(
            settings, **{"message.timeout.ms": 0, "message.max.bytes": 16 << 20}
        )

    def _acknowledge(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self.refusal = error.str()

    def take(self, record: Record, converter: Converter) -> None:
        """Send one row, or report it."""
        self.outcome.rows = record.number
        if record.number <= self.done:
            return
        try:
            if record.problem:
                raise BadRowError(record.problem)
            event = converter.event(record.number, record.row)
            value = orjson.dumps(event, default=str, option=orjson.OPT_UTC_Z)
        except (BadRowError, orjson.JSONEncodeError) as problem:
            self._report(record, str(problem))
        else:
            self._send(str(event["user_id"]).encode(), value)
            self.outcome.sent += 1
        if record.number % CHECKPOINT_ROWS == 0:
            self._checkpoint()

    def _send(self, key: bytes, value: bytes) -> None:
        while True:
            try:
                self.producer.produce(self.topic, value, key, on_delivery=self._acknowledge)
            except BufferError:
                self.producer.poll(0.1)
            else:
                self.producer.poll(0)
                return

    def _report(self, record: Record, problem: str) -> None:
        is_new = self.outcome.report is None
        self.report.parent.mkdir(parents=True, exist_ok=True)
        with self.report.open("w" if is_new else "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["line", "reason"])
            writer.writerow([record.line, problem])
        self.outcome.report = self.report
        self.outcome.bad += 1

    def _checkpoint(self, *, is_finished: bool = False) -> None:
        while self.producer.flush(1):
            log.info("waiting for the broker to acknowledge %d rows", len(self.producer))
        if self.refusal:
            raise ImportStoppedError(
                f"Kafka refused a row: {self.refusal}. Everything up to row "
                f"{self.done} is in; put it right and run the same import again"
            )
        self.done = self.outcome.rows
        self.connection.execute(
            "UPDATE file_imports SET rows_confirmed = %s, rows_sent = %s, bad_rows = %s, "
            "updated_at = now(), finished_at = CASE WHEN %s THEN now() END "
            "WHERE digest = %s AND topic = %s",
            [
                self.done,
                self.outcome.sent,
                self.outcome.bad,
                is_finished,
                self.digest.hex(),
                self.topic,
            ],
        )

    def finish(self) -> None:
        """Wait for the last acknowledgements."""
        self._checkpoint(is_finished=True)


def _begin(
    connection: psycopg.Connection[DictRow],
    digest: bytes,
    topic: str,
    path: Path,
    mapping: Mapping,
) -> dict[str, Any]:
    row = connection.execute(
        "INSERT INTO file_imports (digest, topic, file_name, mapping) VALUES (%s, %s, %s, %s) "
        "ON CONFLICT (digest, topic) DO UPDATE SET updated_at = now() RETURNING *",
        [digest.hex(), topic, path.name, Jsonb(mapping.as_json())],
    ).fetchone()
    if row is None:
        raise RuntimeError("PostgreSQL did not record the import")
    return row


def _check_event_type(connection: psycopg.Connection[DictRow], mapping: Mapping) -> None:
    """Refuse an import all of whose events would be rejected as unknown."""
    event = mapping.constants.get("event")
    if event is None:
        return
    known = connection.execute(
        "SELECT 1 FROM event_types WHERE event_type = %s AND is_active", [event]
    )
    if known.fetchone() is None:
        raise MappingError(
            f"event type {event!r} is not registered, so every row would be rejected; register it "
            f"with ./millrace event-types register {event} first"
        )


def _shift(path: Path, mapping: Mapping, day: date | None, settings: Settings) -> timedelta:
    """Return the shift of timestamps; refuses events that are too old to be kept."""
    for record in files.records(path):
        try:
            row = {} if record.problem else record.row
            column = mapping.columns.get("timestamp", "timestamp")
            value = mapping.constants.get("timestamp", row.get(column))
            first = read_time(value, ZoneInfo(mapping.zone))
        except BadRowError:
            continue
        shift = shift_between(first, day) if day else timedelta()
        age = (time.time() - (first + shift).timestamp()) / 86_400
        if age > settings.events_retention_days:
            raise MappingError(
                f"the first row's time, {first + shift:%Y-%m-%d}, is {age:.0f} days ago, but "
                f"events are kept for {settings.events_retention_days} days; move the file's times "
                "with --shift-to DATE, or raise MILLRACE_EVENTS_RETENTION_DAYS"
            )
        return shift
    raise MappingError(f"no row of {path} has a time in its timestamp column; see --map timestamp=")
