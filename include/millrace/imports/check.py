"""Read a whole file before a row of it is sent: which rows are bad, and which would be rejected."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from millrace.contract import json_text
from millrace.contract.failures import Failure, parse
from millrace.contract.gate import Gate
from millrace.imports.convert import BadRowError, Row, content_digest, event_id
from millrace.imports.mapping import MappingError
from millrace.imports.records import Record
from millrace.imports.request import Job
from millrace.imports.warehouse import SHOWN, Tally, Warehouse

BATCH_ROWS = 20_000
BATCH_BYTES = 16 << 20

TIME_REASONS = ("event_too_old", "event_in_future")
"""Rejected rows of these reasons are not sent: no replay helps them, another shift may."""

_ANY_ID = event_id(bytes(20), 0)

Progress = Callable[[str, int, int | None], None]
"""Told what is being done, the rows so far, and how many there are, if that is known."""


@dataclass
class Bad:
    """A row that is not sent, and why."""

    line: int
    reason: str


@dataclass
class Findings:
    """What a file is made of.

    ``rejected`` counts, by label (``reason|field|rule``), the rows that the gate would reject now
    and that are sent all the same, since they can be mended where they are kept. ``repeated`` holds
    the beginnings of digests that more than one event has.
    """

    rows: int = 0
    bad: int = 0
    examples: list[Bad] = field(default_factory=list)
    untimely: dict[str, Tally] = field(default_factory=dict)
    rejected: dict[str, Tally] = field(default_factory=dict)
    bad_numbers: array[int] = field(default_factory=lambda: array("Q"))
    repeated: frozenset[int] = frozenset()
    mend: Path | None = None
    report: Path | None = None

    @property
    def good(self) -> int:
        """How many rows can be sent."""
        return self.rows - self.bad

    @property
    def is_hopeless(self) -> bool:
        """Whether there are events, and the gate would reject all of them."""
        judged = sum(t.rows for t in (*self.untimely.values(), *self.rejected.values()))
        return judged > 0 and self.good == sum(t.rows for t in self.rejected.values())


def check(
    job: Job, warehouse: Warehouse, gate: Gate, settings_limit: int, folder: Path, tell: Progress
) -> Findings:
    """Read every row, and have the gate judge those that become events.

    Bad rows are written to ``<file>.<id>.bad_rows.<format>``, which can be mended and imported
    alone, and their lines and reasons to ``<file>.<id>.reasons.csv`` beside it. A longer message
    than ``settings_limit`` bytes makes a row bad. Raises ``MappingError`` when a column that the
    mapping names is in no row, and ``FileError`` where the file can't be read to its end.
    """
    with ExitStack() as stack:
        checker = _Checker(job, warehouse, gate, settings_limit, folder, stack)
        for record in job.rows.records():
            checker.take(record)
            if record.number % 2_000 == 0:
                tell("checking", record.number, job.rows.total)
        return checker.finish()


class _Checker:
    def __init__(
        self,
        job: Job,
        warehouse: Warehouse,
        gate: Gate,
        limit: int,
        folder: Path,
        stack: ExitStack,
    ) -> None:
        self.job, self.warehouse, self.gate, self.limit = job, warehouse, gate, limit
        self.found = Findings()
        self.names: set[str] = set(job.rows.columns)
        self.digests = array("Q")
        self.held: list[tuple[Record, bytes, str]] = []
        self.size = 0
        stem = f"{job.request.path.name.split('.')[0]}.{job.digest.hex()[:8]}"
        self.mend = folder / f"{stem}.bad_rows{job.rows.suffix}"
        self.report = folder / f"{stem}.reasons.csv"
        self.stack = stack
        for path in (self.mend, self.report):
            path.unlink(missing_ok=True)

    def take(self, record: Record) -> None:
        """Look at a row; judge a batch of them once it is full."""
        self.found.rows = record.number
        if not self.job.rows.columns:
            self.names.update(record.row)
        value, problem = b"", record.problem
        if not problem:
            try:
                value = self._value(record.row)
            except (BadRowError, orjson.JSONEncodeError) as error:
                problem = str(error)
        self.held.append((record, value, problem))
        # a bad row is held as the file has it (of Parquet: with its batch)
        self.size += len(value or (record.source if isinstance(record.source, str) else b""))
        if len(self.held) >= BATCH_ROWS or self.size >= BATCH_BYTES:
            self._judge()

    def _value(self, row: Row) -> bytes:
        converter = self.job.converter
        event = converter.event(row)
        key = converter.keys["event_id"]
        if key not in event:
            self.digests.append(int.from_bytes(content_digest(event)[:8]))
            event[key] = _ANY_ID
        value = json_text.dump(event)
        if len(value) > self.limit:
            raise BadRowError(
                f"is {len(value):,} bytes as an event; MILLRACE_MESSAGE_MAX_BYTES is {self.limit:,}"
            )
        return value

    def _judge(self) -> None:
        events = [(record, value) for record, value, problem in self.held if not problem]
        failures = self.warehouse.judge(self.gate, [value for _, value in events]) if events else {}
        labels = {events[place][0].number: label for place, label in failures.items()}
        for record, _, problem in self.held:
            label = labels.get(record.number, "")
            reason = parse(label).reason if label else ""
            if reason in TIME_REASONS:
                self.found.untimely.setdefault(reason, Tally()).add(record.line)
                self._bad(record, f"{reason}: its time would be rejected")
            elif reason:
                self.found.rejected.setdefault(label, Tally()).add(record.line)
            elif problem:
                self._bad(record, problem)
        self.held, self.size = [], 0

    def _bad(self, record: Record, reason: str) -> None:
        found = self.found
        if not found.bad:
            self.mend.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # people's data
            self.keeper = self.stack.enter_context(self.job.rows.keeping(self.mend))
            file = self.stack.enter_context(self.report.open("w", newline="", encoding="utf-8"))
            self.reasons = csv.writer(file)
            self.reasons.writerow(["line", "reason"])
            found.mend, found.report = self.mend, self.report
        found.bad += 1
        found.bad_numbers.append(record.number)
        if len(found.examples) < SHOWN:
            found.examples.append(Bad(record.line, reason))
        self.keeper.add(record)
        self.reasons.writerow([record.line, reason])

    def finish(self) -> Findings:
        """Judge what is left, and find the events that are there more than once."""
        self._judge()
        if self.names and not self.job.rows.columns:
            self.job.request.mapping.check_columns(sorted(self.names))
        self.found.repeated = _repeated(self.digests)
        return self.found


def _repeated(digests: array[int]) -> frozenset[int]:
    """Return the numbers that are there more than once."""
    import pyarrow
    import pyarrow.compute

    if not digests:
        return frozenset()
    values = pyarrow.Array.from_buffers(
        pyarrow.uint64(), len(digests), [None, pyarrow.py_buffer(digests)]
    )
    counts = values.value_counts()
    is_more = pyarrow.compute.greater(counts.field("counts"), 1)
    return frozenset(counts.field("values").filter(is_more).to_pylist())


def hint(found: Findings, retention_days: int) -> str:
    """Say what would be rejected, of a file all of whose events would be, and what to do."""
    tallies = {Failure(reason): tally for reason, tally in found.untimely.items()}
    tallies |= {parse(label): tally for label, tally in found.rejected.items()}
    said = []
    for failure, tally in tallies.items():
        where = f" ({failure.field})" if failure.field else ""
        said.append(f"{tally.rows:,} {failure.reason}{where}, first on line {tally.lines[0]}")
    advice = []
    reasons = {failure.reason for failure in tallies}
    if reasons & set(TIME_REASONS):
        advice.append(
            "move the file's times with --shift-to DATE, or raise MILLRACE_EVENTS_RETENTION_DAYS "
            f"({retention_days} days are kept)"
        )
    if "unknown_event_type" in reasons:
        advice.append("register the event type: ./millrace event-types register NAME")
    if any(failure[:2] == ("invalid_type", "event_id") for failure in tallies):
        advice.append("make ids of a column that holds no UUIDs with --hash event_id=COLUMN")
    text = f"every event would be rejected: {'; '.join(said)}"
    return text + "".join(f"; {one}" for one in advice) + ". Nothing was sent"


def refuse_hopeless(found: Findings, retention_days: int) -> None:
    """Raise ``MappingError`` where every event would be rejected."""
    if found.is_hopeless:
        raise MappingError(hint(found, retention_days))
