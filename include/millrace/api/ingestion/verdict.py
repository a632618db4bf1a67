"""Asks the gate itself about events that are not certain, so that an answer never contradicts it.

Doubtful events of all requests go in one statement at a time: while one runs, the next gathers.
An answer waits a moment for it, no longer; where ClickHouse does not say in time, the event is as
durable as any, and its verdict is the gate's later on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.external import ExternalData

from millrace.api.ingestion.batches import Rejection
from millrace.contract import failures
from millrace.contract.gate import Gate
from millrace.ingest.arrow import arrow_stream
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

log = logging.getLogger(__name__)

ARRIVED = pa.schema(
    [
        ("number", pa.uint64()),
        ("received_at", pa.timestamp("ms", tz="UTC")),
        ("message", pa.binary()),
    ]
)
MOST_AT_ONCE = 2_000
MOST_BYTES_AT_ONCE = 16 << 20
MOST_WAITING = 20_000
MOST_BYTES_WAITING = 64 << 20
PATIENCE_SECONDS = 1.0

LATER_SECONDS = 120
"""An event is said to be rejected only if it still were when it is loaded so much later."""

STATEFUL = frozenset({"unknown_reference", "anomalous", "duplicate_event_id"})
"""Reasons that depend on what else is known when the event is loaded."""


@dataclass(frozen=True)
class Doubt:
    """An event to ask about: its place in its request, and when it came (ms since 1970)."""

    index: int
    message: bytes
    received_at: int


@dataclass
class _Question:
    gate: Gate
    doubts: Sequence[Doubt]
    answer: asyncio.Future[list[Rejection]]

    @property
    def size(self) -> int:
        """The bytes that it is about."""
        return sum(len(doubt.message) for doubt in self.doubts)


class Verdicts:
    """Asks, for one process; ``judge`` may be called by many requests at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: list[_Question] = []
        self._asker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="verdicts")
        self._client: Client | None = None

    async def judge(self, gate: Gate, doubts: Sequence[Doubt]) -> list[Rejection] | None:
        """Return which of the events the gate will reject; ``None`` where it can't be said now."""
        # Nobody waits any more for an answer that is done: it ran out of time.
        self._waiting = [question for question in self._waiting if not question.answer.done()]
        question = _Question(gate, doubts, asyncio.get_running_loop().create_future())
        would_wait = [*self._waiting, question]
        count = sum(len(one.doubts) for one in would_wait)
        if count > MOST_WAITING or sum(one.size for one in would_wait) > MOST_BYTES_WAITING:
            return None
        self._waiting = would_wait
        if self._asker is None or self._asker.done():
            self._asker = asyncio.create_task(self._ask())
        try:
            return await asyncio.wait_for(question.answer, PATIENCE_SECONDS)
        except (TimeoutError, ClickHouseError, OSError):
            return None

    async def close(self) -> None:
        """Stop asking."""
        if self._asker is not None:
            self._asker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._asker
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _ask(self) -> None:
        """Ask what waits, gate by gate, until nothing does."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            gate = self._waiting[0].gate
            asked = self._next(gate)
            try:
                doubts = [doubt for question in asked for doubt in question.doubts]
                found = await loop.run_in_executor(self._thread, self._query, gate, doubts)
            except (ClickHouseError, OSError) as error:
                log.warning("the gate can't be asked: %s", str(error).splitlines()[0])
                self._client = None
                for question in asked:
                    if not question.answer.done():
                        question.answer.set_exception(error)
                continue
            start = 0
            for question in asked:
                own = found[start : start + len(question.doubts)]
                start += len(question.doubts)
                if not question.answer.done():
                    question.answer.set_result([one for one in own if one is not None])

    def _next(self, gate: Gate) -> list[_Question]:
        """Take the questions about a gate that fit into one statement, at least one."""
        taken: list[_Question] = []
        left: list[_Question] = []
        count = size = 0
        for question in self._waiting:
            count += len(question.doubts)
            size += question.size
            fits = not taken or (count <= MOST_AT_ONCE and size <= MOST_BYTES_AT_ONCE)
            (taken if question.gate is gate and fits else left).append(question)
        self._waiting = left
        return taken

    def _query(self, gate: Gate, doubts: Sequence[Doubt]) -> list[Rejection | None]:
        """Ask about each event as of now and as of a while later; runs in a thread."""
        if self._client is None:
            self._client = clickhouse.connect(self._settings, "ingestion")
        rows = [
            {
                "number": number * 2 + later,
                "received_at": doubt.received_at + later * LATER_SECONDS * 1000,
                "message": doubt.message,
            }
            for number, doubt in enumerate(doubts)
            for later in (0, 1)
        ]
        table = pa.Table.from_pylist(rows, schema=ARRIVED)
        arrived = ExternalData(
            file_name="arrived",
            data=b"".join(arrow_stream(table)),
            fmt="ArrowStream",
            structure="number UInt64, received_at DateTime64(3, 'UTC'), message String",
        )
        statement = gate.statement(
            f"({sql.render('clickhouse/api/arrived.sql')})", claimed_at="received_at"
        )
        query = sql.render("clickhouse/api/judged.sql", statement=statement)
        answers = self._client.query(query, external_data=arrived).result_rows
        return [
            _rejection(doubt, str(now[1]), now[2], later[2])
            for doubt, now, later in zip(doubts, answers[::2], answers[1::2], strict=True)
        ]


def _rejection(
    doubt: Doubt, event_id: str, now: Sequence[str], later: Sequence[str]
) -> Rejection | None:
    """Return why an event will be rejected, if that is so whenever it is loaded."""
    lasting = [failures.parse(label) for label in now if label in later]
    lasting = [failure for failure in lasting if failure.reason not in STATEFUL]
    if not lasting:
        return None
    first = lasting[0]
    return Rejection(
        index=doubt.index,
        event_id=event_id if uuid.UUID(event_id).int else "",
        reason=first.reason,
        field=first.field,
        detail=_detail(first),
        rule=first.rule,
    )


DETAILS = {
    "empty_message": "the event is empty",
    "message_too_large": "the event is longer than MILLRACE_MESSAGE_MAX_BYTES",
    "malformed_json": "the event is no JSON object in valid UTF-8",
    "missing_field": "{field} is absent, null or empty",
    "invalid_type": "{field} can't be read as its type",
    "invalid_value": "{field} has a value that the rule {rule} does not allow",
    "out_of_range": "{field} lies outside the limits of the rule {rule}",
    "unknown_event_type": "{field} is not registered: ./millrace event-types register NAME",
    "condition_failed": "the condition of the rule {rule} does not hold",
    "event_too_old": "{field} is older than what is kept",
    "event_in_future": "{field} is too far ahead",
    "unprocessable": "the rule {rule} could not be computed",
}
"""What an answer says of each reason that it may give; docs/rejection-reasons.md says more."""


def _detail(failure: failures.Failure) -> str:
    return DETAILS[failure.reason].format(field=failure.field, rule=failure.rule)
