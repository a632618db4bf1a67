"""Import a file: check all of it, then send each row once to Kafka, and say what became of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from confluent_kafka import KafkaError, Message
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace.contract import json_text, locks
from millrace.contract.gate import Gate
from millrace.imports.check import (
    BATCH_BYTES,
    BATCH_ROWS,
    Findings,
    Progress,
    check,
    refuse_hopeless,
)
from millrace.imports.convert import canonical, content_digest, event_id
from millrace.imports.mapping import MappingError
from millrace.imports.request import Job, Request, open_file, prepare
from millrace.imports.warehouse import HEADER, Warehouse
from millrace.settings import Settings
from millrace.stores import kafka, postgres, sql

log = logging.getLogger(__name__)

CHECKPOINT_ROWS = 100_000
"""After so many rows everything sent is waited for, and the progress is recorded."""


class ImportStoppedError(RuntimeError):
    """An import that could not go on; nothing is lost, it can be run again."""


@dataclass
class Outcome:
    """What became of a file's rows, as far as sending them goes.

    ``resumed_after`` is the row up to which an earlier run had come, ``known`` counts rows that
    were not sent because they are there already, ``ends`` the offsets behind the last message of
    each partition. ``number`` and ``since`` are what ``arrivals`` finds the messages by.
    """

    job: Job
    found: Findings
    sent: int = 0
    known: int = 0
    resumed_after: int = 0
    number: str = ""
    since: datetime | None = None
    ends: dict[int, int] = field(default_factory=dict)


def run(
    request: Request,
    settings: Settings,
    *,
    is_dry: bool = False,
    tell: Progress = lambda _what, _rows, _total: None,
) -> Outcome:
    """Check a file, and send its rows, going on where an earlier import of it stopped.

    A dry run sends and records nothing; ``Outcome.sent`` is then what would be sent. Raises
    ``MappingError`` when the mapping does not fit the file or its events would all be rejected,
    ``FileError`` or ``OSError`` when the file can't be read, and ``ImportStoppedError`` when the
    broker refuses a message or the file changes meanwhile.
    """
    rows = open_file(request)
    with postgres.connect(settings) as connection:
        job = prepare(request, rows, connection)
        busy = ImportStoppedError("another process is importing this file into this topic")
        with (
            locks.at_once(connection, locks.IMPORT, job.digest.hex(), request.topic, error=busy),
            closing(Warehouse(settings, job.source)) as warehouse,
        ):
            if not request.is_again:
                _refuse_otherwise_read(connection, job)
            gate = Gate.in_force(connection, job.source.source_id)
            if gate is None:
                raise MappingError(
                    f"source {job.source.source_id!r} has no gate yet: ./millrace rules compile"
                )
            folder = settings.home / "imports"
            found = check(job, warehouse, gate, settings.message_max_bytes, folder, tell)
            refuse_hopeless(found, settings.events_retention_days)
            outcome = Outcome(job, found)
            if not found.good:
                return outcome
            if is_dry:
                _Rows(outcome, warehouse).send(tell)
                return outcome
            kafka.ensure_topic(settings, request.topic)
            begun = _begin(connection, job)
            _Sender(outcome, warehouse, settings, connection, begun).send(tell)
    return outcome


class _Rows:
    """A file's good rows as messages with their ids, but for those that are there already."""

    def __init__(self, outcome: Outcome, warehouse: Warehouse) -> None:
        self.outcome, self.warehouse = outcome, warehouse
        self.job, self.found = outcome.job, outcome.found
        self.seen: Counter[bytes] = Counter()
        self.done = 0

    def send(self, tell: Progress) -> None:
        """Send, or count, batch after batch."""
        tell("sending", self.done, self.found.rows)
        for batch in self._batches():
            keys = self.job.converter.keys
            times = [event[keys["timestamp"]] for _, _, event in batch]
            ids = [canonical(event[keys["event_id"]]) for _, _, event in batch]
            known = self.warehouse.known(
                [one for one in ids if one is not None], min(times), max(times)
            )
            for (number, line, event), one in zip(batch, ids, strict=True):
                if one in known:
                    self.outcome.known += 1
                else:
                    self.put(number, line, event)
                    self.outcome.sent += 1
            self.settle(batch[-1][0])
            tell("sending", batch[-1][0], self.found.rows)

    def put(self, number: int, line: int, event: dict[str, Any]) -> None:
        """Send a message."""

    def settle(self, number: int) -> None:
        """Take note that all rows up to this one are sent."""

    def _batches(self) -> Iterator[list[tuple[int, int, dict[str, Any]]]]:
        """Yield number, line and event of the rows that no earlier run has sent."""
        batch, size = [], 0
        most = min(BATCH_ROWS, CHECKPOINT_ROWS)
        bad = iter(self.found.bad_numbers)
        next_bad = next(bad, 0)
        for record in self.job.rows.records():
            if record.number == next_bad:
                next_bad = next(bad, 0)
                continue
            event = self._event(record.row)
            if record.number <= self.done:
                continue
            batch.append((record.number, record.line, event))
            size += sum(map(len, map(str, event.values())))
            if len(batch) >= most or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _event(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row's event with its id: its own, or one made of what it says."""
        converter = self.job.converter
        event = converter.event(row)
        key = converter.keys["event_id"]
        if key not in event:
            digest = content_digest(event)
            before = 0
            if int.from_bytes(digest[:8]) in self.found.repeated:
                before = self.seen[digest]
                self.seen[digest] += 1
            event[key] = event_id(digest, before)
        return event


class _Sender(_Rows):
    """Sends rows, and records how far everything is acknowledged."""

    def __init__(
        self,
        outcome: Outcome,
        warehouse: Warehouse,
        settings: Settings,
        connection: psycopg.Connection[DictRow],
        begun: dict[str, Any],
    ) -> None:
        super().__init__(outcome, warehouse)
        self.settings, self.connection = settings, connection
        self.import_id = begun["import_id"]
        self.done = self.noted = outcome.resumed_after = int(begun["rows_confirmed"])
        outcome.sent, outcome.known = begun["rows_sent"], begun["known_rows"]
        outcome.number = f"{begun['import_id']}-{begun['turn']}"
        outcome.since = begun["started_at"]
        self.refusal = ""
        self.producer = kafka.producer(
            settings,
            **{"message.timeout.ms": 0, "message.max.bytes": kafka.LARGEST_MESSAGE_BYTES},
        )

    def send(self, tell: Progress) -> None:
        """Send batch after batch, and wait for the last acknowledgements."""
        self._note()
        super().send(tell)
        self._checkpoint(self.found.rows, is_finished=True)
        if self.outcome.resumed_after:  # what was sent before the interruption is waited for, too
            topic = self.job.request.topic
            known = self.producer.list_topics(topic).topics[topic].partitions
            ends = kafka.ends(self.settings, [(topic, number) for number in known])
            self.outcome.ends = {number: end for (_, number), end in ends.items()}

    def put(self, number: int, line: int, event: dict[str, Any]) -> None:
        """Send a message."""
        value = json_text.dump(event)
        key = str(event[self.job.converter.keys["user_id"]]).encode(errors="replace")
        told = [(HEADER, f"{self.outcome.number} {number} {line}".encode())]
        while True:
            try:
                self.producer.produce(
                    self.job.request.topic, value, key, on_delivery=self._acknowledge, headers=told
                )
            except BufferError:
                self.producer.poll(0.1)
            else:
                self.producer.poll(0)
                return

    def _acknowledge(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.refusal = error.str()
            return
        ends, partition, end = self.outcome.ends, message.partition(), message.offset() + 1
        if end > ends.get(partition, 0):
            ends[partition] = end

    def settle(self, number: int) -> None:
        """Take note that all rows up to this one are sent."""
        if number - self.noted >= CHECKPOINT_ROWS:
            self._checkpoint(number)

    def _checkpoint(self, number: int, *, is_finished: bool = False) -> None:
        while self.producer.flush(1):
            log.info("waiting for the broker to acknowledge %d rows", len(self.producer))
        if self.refusal:
            raise ImportStoppedError(
                f"Kafka refused a row: {self.refusal}. Everything up to row {self.noted:,} is in; "
                "put it right and run the same import again"
            )
        if not self.job.is_unchanged:
            raise ImportStoppedError(
                f"the file changed while it was read. What was sent up to row {number:,} is in; "
                "run the import again once the file stays as it is"
            )
        self.noted = number
        self._note(is_finished=is_finished)

    def _note(self, *, is_finished: bool = False) -> None:
        self.connection.execute(
            sql.render("postgres/imports/note.sql"),
            {
                "import_id": self.import_id,
                "rows": self.noted,
                "sent": self.outcome.sent,
                "known": self.outcome.known,
                "bad": self.found.bad,
                "is_finished": is_finished,
            },
        )


def _begin(connection: psycopg.Connection[DictRow], job: Job) -> dict[str, Any]:
    """Record the import, or find how far an earlier run of it came."""
    values = {
        "digest": job.digest.hex(),
        "topic": job.request.topic,
        "reading": job.reading,
        "file_name": job.request.path.name,
        "mapping": Jsonb(job.how),
    }
    return postgres.one(connection.execute(sql.render("postgres/imports/begin.sql"), values))


def _refuse_otherwise_read(connection: psycopg.Connection[DictRow], job: Job) -> None:
    """Refuse a file that was sent with another mapping: its rows would count twice."""
    values = {"digest": job.digest.hex(), "topic": job.request.topic, "reading": job.reading}
    rows = connection.execute(sql.render("postgres/imports/others.sql"), values).fetchall()
    if not rows:
        return
    before = rows[0]
    was = before["mapping"]
    other = [
        f"{name} {was[name]!r}, now {value!r}"
        for name, value in job.how.items()
        if name in was and was[name] != value
    ]
    state = "was imported" if before["finished_at"] else "was begun"
    raise MappingError(
        f"the file {state} with another mapping ({'; '.join(other) or 'by an earlier version'}) on "
        f"{before['sending_at']:%Y-%m-%d %H:%M}, and what was sent then is there: its rows would "
        "count twice. Use that mapping, or send it all the same with --again"
    )
