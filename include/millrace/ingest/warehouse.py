"""The loader's side in ClickHouse: stage a micro-batch, keep it, judge it, publish it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace import waiting
from millrace.contract.erasures import Orders
from millrace.contract.failures import GATE_RULE, Failure
from millrace.contract.fields import COLUMNS
from millrace.contract.sources import Source
from millrace.ingest import erased, memory
from millrace.ingest.arrow import MESSAGES, arrow_stream
from millrace.ingest.ledger import Position
from millrace.ingest.model import (
    Batch,
    Counts,
    Range,
    RegisterLostError,
    SessionLostError,
    StoredRange,
    any_of,
    ranges_condition,
)
from millrace.ingest.session import Session
from millrace.settings import Settings
from millrace.stores import sql
from millrace.stores.errors import first_line, may_pass
from millrace.stores.quoting import literal

log = logging.getLogger(__name__)

TOKENS_REMEMBERED = 5_000
"""Half of the tables' deduplication window: a repeat after more blocks than this is not swallowed
for sure."""

INSERT_SETTINGS: dict[str, Any] = {
    "max_threads": 1,  # workers are the parallelism, and one thread keeps rows in their order
    "max_insert_threads": 1,
    "async_insert": 0,
    "deduplicate_insert": "enable",
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "max_partitions_per_insert_block": 0,  # a history of any length may arrive at once
    # One block per micro-batch, so that each partition of a table gets all of it or nothing.
    "min_insert_block_size_rows": 1 << 30,
    "min_insert_block_size_bytes": 1 << 40,
}

OF_NOTHING_STAGED = ("note_generation", "newest_generation", "remembered")
"""Statements about a micro-batch whose messages they don't read."""

UNPROCESSABLE = Failure("unprocessable", rule=GATE_RULE).label
DUPLICATE = literal(Failure("duplicate_event_id", "event_id").label)
MOST_UNPROCESSABLE = 1_000
"""Of one micro-batch; more is a fault of the rules, which people should hear of at once."""


class Warehouse:
    """One worker's ClickHouse session for one source."""

    def __init__(self, settings: Settings, source: Source, incarnation: int) -> None:
        self.settings = settings
        self.source = source
        self.incarnation = incarnation
        self.is_enriching = True
        self._session = Session(settings, source, incarnation)

    def client(self) -> Client:
        """Return the session's client; opens a session when there is none, or it has ended."""
        return self._session.client()

    def close(self) -> None:
        """Forget the session; the server drops its temporary tables."""
        self._session.close()

    def holds(self, batch: Batch) -> bool:
        """Tell whether what was staged of a micro-batch is still there."""
        return self._session.holds(batch)

    def stage(self, batch: Batch, gate: str, messages: pa.Table) -> None:
        """Send the messages, and judge them by the gate.

        A message that makes the gate fail is staged as rejected; a server that can't now, raises.
        """
        self._session.hold(batch)
        try:
            self._stage(batch, gate, messages)
        except ClickHouseError as error:
            if not _is_of_the_messages(error, messages, batch):
                raise
            self._stage_apart(batch, gate, messages, error)

    def _stage(self, batch: Batch, gate: str, messages: pa.Table) -> None:
        if messages.num_rows:
            self.client().raw_insert(
                "incoming", messages.column_names, arrow_stream(messages), fmt="ArrowStream"
            )
        self._run("stage", batch, gate=gate, values={"message_count": messages.num_rows})

    def _stage_apart(
        self, batch: Batch, gate: str, messages: pa.Table, error: ClickHouseError
    ) -> None:
        """Find the messages at which the gate fails by halving, and stage the others."""
        client = self.client()
        for table in ("incoming", "staged"):
            client.command(f"TRUNCATE TABLE {table}")
        self._stage(batch, gate, messages.slice(0, 0))  # fails if it is not for a message
        failed: list[tuple[int, int, str]] = []
        pieces = [messages]
        while pieces:
            piece = pieces.pop()
            client.command("TRUNCATE TABLE incoming")
            try:
                self._stage(batch, gate, piece)
            except ClickHouseError as cause:
                may_halve = _is_of_the_messages(cause, piece, batch)
                if not may_halve or len(failed) >= MOST_UNPROCESSABLE:
                    raise
                half = piece.num_rows // 2
                if half:
                    pieces += [piece.slice(half), piece.slice(0, half)]
                    continue
                if memory.is_to_blame(client, cause):
                    raise
                place = piece.select(["partition", "offset"]).to_pylist()[0]
                failed.append((place["partition"], place["offset"], first_line(cause)))
        log.warning(
            "micro-batch %d: the gate fails at %d messages, which are rejected: %s",
            batch.batch_id,
            len(failed),
            first_line(error),
        )
        client.command("TRUNCATE TABLE incoming")
        content = arrow_stream(messages)
        client.raw_insert("incoming", messages.column_names, content, fmt="ArrowStream")
        if failed:  # none, if it was the batch's size that the server could not take
            client.insert(
                "staged",
                [[*row[:2], [UNPROCESSABLE], row[2]] for row in failed],
                column_names=["partition", "offset", "failures", "detail"],
                column_type_names=["UInt32", "UInt64", "Array(String)", "String"],
            )

    def without_erased(
        self, batch: Batch, gate: str, messages: pa.Table, orders: Orders
    ) -> pa.Table:
        """Return, and leave staged, the messages but for those that an erasure covers."""
        client = self._session.holding(batch)
        if orders.users and self._session.orders != orders:
            erased.send_orders(client, orders)
            self._session.orders = orders
        places = erased.find(client, "staged", "incoming") if orders.users else set()
        if not places:
            return messages
        log.info("micro-batch %d: %d messages of erased people", batch.batch_id, len(places))
        if batch.attempts > 1:
            erased.forget_kept(client, self.source, batch.incarnation, places)
        rest = erased.without(messages, places)
        self.stage(batch, gate, rest)
        return rest

    def keep(self, batch: Batch, lease_until: datetime, *, is_rewrite: bool) -> None:
        """Write the staged messages to ``raw_events`` as they came."""
        self._run("keep", batch, lease_until=lease_until, is_rewrite=is_rewrite)

    def find_present(self, batch: Batch) -> dict[str, int]:
        """On a repeat, note where the batch's positions already are; return how many where."""
        client = self._session.holding(batch)
        places = {
            "raw": "raw_events",
            "event": self.source.target_table,
            "rejected": "rejected_events",
        }
        client.command("TRUNCATE TABLE present")
        for place, table in places.items():
            self._run(
                "present", batch, place=place, table=table, ranges=ranges_condition(batch.ranges)
            )
        found = client.query("SELECT place, count() FROM present GROUP BY place").result_rows
        return dict.fromkeys(places, 0) | {str(place): int(n) for place, n in found}

    def lacks(self, batch: Batch, gate: str) -> int:
        """Return how many kept messages of a micro-batch have no verdict and have not expired."""
        self.stage(batch, gate, self.kept_messages(batch.ranges, batch.incarnation))
        self.find_present(batch)
        return int(self._run("unexpired", batch))

    def find_expired(self, batch: Batch) -> tuple[int, bool]:
        """Tell what is gone since its time is over.

        Returns how many events of what ``judge`` let pass, and whether all that it refused.
        """
        events, rejected = self._run("expired", batch)
        return int(events), bool(int(rejected))

    def stored_beyond(self, positions: Iterable[Position]) -> list[StoredRange]:
        """Return what ``raw_events`` holds at or beyond ``positions``, by batch and partition."""
        beyond = [f"partition = {p.partition} AND offset >= {p.next_offset}" for p in positions]
        statement = sql.render("clickhouse/ingest/warehouse_ahead.sql", beyond=any_of(beyond))
        rows = self.client().query(
            statement,
            parameters={
                "source_id": self.source.source_id,
                "topic": self.source.topic,
                "incarnation": self.incarnation,
            },
        )
        return [
            StoredRange(batch, partition, first, end, messages, claimed.replace(tzinfo=UTC))
            for batch, partition, first, end, messages, claimed in rows.result_rows
        ]

    def note_generation(self, batch: Batch) -> None:
        """Note that a micro-batch is written again, for ledgers that may forget it."""
        self._run("note_generation", batch, values={"generation": batch.generation})

    def newest_generation(self, batch: Batch) -> int:
        """Return the last generation that a micro-batch was written under; 0 for the first."""
        return int(self._run("newest_generation", batch))

    def remembers(self, batch: Batch) -> bool:
        """Tell whether the tables surely still know the batch's tokens."""
        return int(self._run("remembered", batch)) < TOKENS_REMEMBERED

    def judge(
        self, batch: Batch, message_count: int, register_instance: int, *, is_repeat: bool
    ) -> tuple[int, str]:
        """Register the event ids and list what is refused.

        Returns how many, and the identity of the views that publishing will meet. Raises
        ``RegisterLostError`` when the register is not the one that ``register_instance`` names,
        ``SessionLostError`` when what was judged are not the messages.
        """
        self._run("register", batch, is_repeat=is_repeat)
        try:
            self._run(
                "judge",
                batch,
                is_repeat=is_repeat,
                values={"message_count": message_count, "register_instance": register_instance},
            )
        except ClickHouseError as error:
            if "millrace: register is lost" in str(error):
                raise RegisterLostError(str(error)) from error
            raise
        found = self._session.holding(batch).query(
            sql.render("clickhouse/ingest/judged.sql"),
            parameters={"register_instance": register_instance},
        )
        incoming, staged, refused, views = found.result_rows[0]
        if not incoming == staged == message_count:
            raise SessionLostError(
                f"micro-batch {batch.batch_id} has {message_count} messages, and {staged} of "
                f"{incoming} were judged"
            )
        return int(refused), str(views)

    def forget_verdicts(self) -> None:
        """Have what is staged judged again."""
        self.client().command("TRUNCATE TABLE refused")

    def staged_days(self, batch: Batch) -> tuple[list[date], list[date]]:
        """Return the days of the events that the staged messages may be.

        The second are those of which something may have expired: ``events`` does not tell any more
        what a rollup should hold of them.
        """
        rows = self._session.holding(batch).query(
            sql.render("clickhouse/ingest/staged_days.sql"),
            parameters={"retention_days": self.settings.events_retention_days},
        )
        found: tuple[list[date], list[date]] = [], []
        for day, is_expiring in rows.result_rows:
            found[is_expiring].append(day)
        return found

    def await_statements(self, batch: Batch) -> None:
        """Have no insert of an earlier attempt run on in the server, whose client is gone.

        Raises ``TimeoutError`` when one has not ended after a minute.
        """
        token = {"token": batch.token(self.source.source_id)}
        running = sql.render("clickhouse/ingest/running.sql")
        waiting.until(
            lambda: not self.client().query(running, parameters=token).result_rows,
            f"an earlier insert of micro-batch {batch.batch_id} to end in ClickHouse",
            seconds=60,
            hint="see system.processes",
            error=TimeoutError,
        )

    def publish(
        self,
        batch: Batch,
        message_count: int,
        refused: int,
        lease_until: datetime,
        *,
        is_repeat: bool,
        is_rewrite: bool,
    ) -> Counts:
        """Write what was judged to the target table and to ``rejected_events``."""
        if refused < message_count:
            self.publish_events(batch, lease_until, has_refused=refused > 0, is_rewrite=is_rewrite)
        if refused:
            self._run("publish_rejected", batch, lease_until=lease_until, is_repeat=is_repeat)
        return Counts(message_count, message_count - refused, refused)

    def publish_events(
        self, batch: Batch, lease_until: datetime, *, has_refused: bool, is_rewrite: bool
    ) -> None:
        """Write the events among what was judged; a view that throws fails it."""
        self._run(
            "publish_events",
            batch,
            lease_until=lease_until,
            enrich=self.is_enriching,
            has_refused=has_refused,
            is_rewrite=is_rewrite,
        )

    def kept_messages(self, ranges: Sequence[Range], incarnation: int) -> pa.Table:
        """Return the messages of ``ranges`` as ``raw_events`` kept them."""
        statement = sql.render(
            "clickhouse/ingest/kept_messages.sql", ranges=ranges_condition(ranges)
        )
        table = self.client().query_arrow(
            statement,
            parameters={
                "source_id": self.source.source_id,
                "topic": self.source.topic,
                "incarnation": incarnation,
            },
            settings={"output_format_arrow_string_as_string": 0},
        )
        return table.cast(MESSAGES)

    def _run(
        self,
        name: str,
        batch: Batch,
        *,
        values: dict[str, Any] | None = None,
        lease_until: datetime | None = None,
        **variables: Any,
    ) -> Any:
        """Run ``ingest/<name>.sql`` for a batch, under its token."""
        statement = sql.render(
            f"clickhouse/ingest/{name}.sql",
            target=self.source.target_table,
            source_number=self.source.source_number,
            retention_days=self.settings.events_retention_days,
            columns=COLUMNS,
            duplicate=DUPLICATE,
            **variables,
        )
        parameters = self._parameters(batch) | (values or {})
        if lease_until is not None:
            parameters["lease_until"] = moment(lease_until)
        client = self.client() if name in OF_NOTHING_STAGED else self._session.holding(batch)
        return client.command(
            statement,
            parameters=parameters,
            settings={
                **INSERT_SETTINGS,
                "insert_deduplication_token": batch.token(self.source.source_id),
            },
        )

    def _parameters(self, batch: Batch) -> dict[str, Any]:
        return {
            "source_id": self.source.source_id,
            "topic": self.source.topic,
            "incarnation": batch.incarnation,
            "batch_id": batch.batch_id,
            "claimed_at": moment(batch.claimed_at),
        }


def _is_of_the_messages(error: ClickHouseError, messages: pa.Table, batch: Batch) -> bool:
    """Tell whether fewer messages, or others, may do: not if the loader's guard or time decides."""
    is_judged = getattr(error, "code", None) is not None and "millrace: incoming" not in str(error)
    return is_judged and (messages.num_rows > 1 or not (may_pass(error) and batch.may_wait))


def moment(value: datetime) -> str:
    """Return a time as ClickHouse reads a ``DateTime64(3, 'UTC')`` parameter."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
