"""The rebuild of a day: judge its messages again, audit the result, and swap it in.

A rebuild of day D covers every message that is an event of D, every message that Kafka got on D
and that was rejected, and rejected messages of the days around that today's rules make events of
D. It works in shadow tables (``events__rebuild_20260131``) and leaves the live ones alone until,
under the publication lock, it adds what has arrived meanwhile and replaces the partitions.
``docs/decisions/0016-rebuild-a-day.md`` says why, and what happens in which order.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import DictRow

from millrace.contract import erasures, locks, publication
from millrace.contract.gate import Gate
from millrace.ingest import enrichment, erased
from millrace.ingest.rebuild.messages import Messages
from millrace.ingest.rebuild.rollups import replace_partition
from millrace.ingest.rebuild.session import RebuildError, Report, Session
from millrace.ingest.warehouse import moment
from millrace.settings import Settings
from millrace.stores import postgres, sql

log = logging.getLogger(__name__)

SLICE = 1_000_000
"""Offsets judged at a time; bounds the memory."""

PASSED_ON = ("source_id", "key", "value", "headers", "batch_id", "ingested_at")
"""What rows of the shadows need besides what the gate makes of a message."""


OnStep = Callable[[str], None]
"""Is told of each step as it begins."""


def rebuild(
    settings: Settings, day: date, target: str = "events", on_step: OnStep = lambda _name: None
) -> Report:
    """Rebuild a day of an event table, its rejected messages and its rollups.

    Raises ``RebuildError`` when the day can't be rebuilt or its audit fails; live tables are then
    as they were. A rebuild that was killed is cleaned up by the next one of the same day.
    """
    busy = RebuildError(f"another rebuild of {day} is under way; wait for it to end")
    with (
        postgres.connect(settings) as connection,
        locks.at_once(connection, locks.REBUILD, target, day, error=busy),
    ):
        _refuse_expiring(settings, day)
        # Two days may hold copies of an id: whoever looks for them must see the other day as it
        # will be. So rebuilds of a table follow one another.
        with locks.alone(connection, locks.REBUILD, target):
            return _Rebuild(settings, connection, day, target, on_step).run()


def _refuse_expiring(settings: Settings, day: date) -> None:
    """Raise ``RebuildError`` for a day of which events may have expired.

    Rollups that are kept longer than events go on counting them, and would be made of the rest.
    """
    since = datetime(day.year, day.month, day.day, tzinfo=UTC)
    ends = since + timedelta(days=settings.events_retention_days)
    if ends <= datetime.now(UTC):
        raise RebuildError(
            f"events of {day} expire from {ends:%Y-%m-%d %H:%M} UTC on "
            f"(MILLRACE_EVENTS_RETENTION_DAYS is {settings.events_retention_days}), and rollups "
            "that are kept longer would be made of what is left; the day stays as it is"
        )


class _Rebuild:
    """One run."""

    def __init__(
        self,
        settings: Settings,
        connection: psycopg.Connection[DictRow],
        day: date,
        target: str,
        on_step: OnStep,
    ) -> None:
        self.settings, self.connection, self.day = settings, connection, day
        self.on_step = on_step
        self.session = Session(settings, day, target)
        self.report = Report(day=str(day))
        self.gates: dict[str, DictRow] = {}
        self.orders = erasures.read(connection)

    def run(self) -> Report:
        started = time.monotonic()
        try:
            with self._step("prepare"):
                self._prepare()
            with self._step("find the messages"):
                messages = Messages(self.settings, self.connection, self.session, self.day)
                found = messages.find()
            with self._step("judge"):
                self._judge()
            self.report.sources = found or {"raw_events": self.report.judged}
            with self._step("reject duplicates"):
                self._reject_duplicates()
            with self._step("audit"):
                self._audit()
            # A deployment that swaps in between would bring rollups of what events held before.
            with locks.alone(self.connection, locks.DEPLOYMENT):
                self.session.demand_alive()
                with self._step("fill the rollups"):
                    self.session.rollups.fill(self.session.target, self.session.shadow)
                with self._step("swap"):
                    self._swap()
        finally:
            self._drop_shadows()
            self.session.close()
        self.report.seconds = round(time.monotonic() - started, 2)
        log.info("%s\n%s", self.report, self.report.table())
        return self.report

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self.on_step(name)
        started = time.monotonic()
        yield
        seconds = round(time.monotonic() - started, 2)
        self.report.steps[name] = seconds
        log.info("%s: %s took %.2f s", self.day, name, seconds)

    def _prepare(self) -> None:
        rows = self.connection.execute(
            sql.render("postgres/rebuild/gates.sql"), {"target": self.session.target}
        )
        self.gates = {row["source_id"]: row for row in rows}
        if not self.gates:
            raise RebuildError(
                f"no active source has {self.session.target} as its target and a gate; compile "
                "the rules (./millrace rules compile)"
            )
        with self.connection.transaction():
            # Waits for claims under way, which would otherwise commit with an earlier number.
            self.connection.execute("LOCK TABLE ingest_batches IN SHARE MODE")
            snapshot = postgres.one(
                self.connection.execute(sql.render("postgres/rebuild/snapshot.sql"))
            )
        # An id is held up to an eighth longer than the window (register.expire), by whole hours.
        held = self.settings.duplicate_window_hours * (3_600 + 450) + 3_600
        self.session.bound = {
            "day": self.day,
            "sources": list(self.gates),
            "last_batch": snapshot["last_batch"],
            "open_batches": snapshot["open_batches"],
            "reach": self.settings.raw_retention_days,
            "held_seconds": held,
            "copies_days": max(self.settings.raw_retention_days, held // 86_400 + 1),
        }
        self._drop_shadows()
        for shadow, original in (
            (self.session.shadow, self.session.target),
            (self.session.arrived, self.session.target),
            (self.session.rejected, "rejected_events"),
        ):
            self.session.command(f"CREATE TABLE {shadow} AS {original}")
            # What expires between two steps must not be missing in the next one.
            if self.session.number(sql.render("clickhouse/rebuild/has_ttl.sql", table=shadow)):
                self.session.command(f"ALTER TABLE {shadow} REMOVE TTL")
            # Merges come after the swap: a DELETE would wait for those that are under way. A slice
            # makes two parts, so that a thousand, at which inserts wait, are 500 million messages.
            self.session.command(
                f"ALTER TABLE {shadow} MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1"
            )
        for statement in self.session.render("session"):
            self.session.command(statement)
        erased.send_orders(self.session.client, self.orders)
        self.session.run("elsewhere")
        if self.session.is_there(self.session.unfinished):
            log.warning("%s: an earlier rebuild died within its swap; finishing it", self.day)
            self.session.run("take_up_unfinished")
        self.report.before = self._counts(self.session.target, "rejected_events")

    def _judge(self) -> None:
        is_enriching = enrichment.is_ready(self.session.client)
        for source_id, gate in self.gates.items():
            compiled = Gate.from_json(gate["definition"])
            slices = self.session.run("slices", source_id=source_id, slice=SLICE).result_rows
            for topic, incarnation, partition, slot, messages, is_repeated in slices:
                self.session.command("TRUNCATE TABLE judged")
                place = {
                    "source_id": source_id,
                    "topic": topic,
                    "incarnation": incarnation,
                    "partition": partition,
                    "first": slot * SLICE,
                    "next": (slot + 1) * SLICE,
                }
                statement = self._gate(compiled, is_repeated=is_repeated)
                self.session.run("judge", gate=statement, **place)
                judged = self.session.number("SELECT count() FROM judged")
                distinct = self.session.number("SELECT uniqExact(offset) FROM judged")
                if judged != distinct or judged != messages:
                    raise RebuildError(f"the gate of {source_id} lost or doubled a message")
                if self.orders.users:
                    erased.find(self.session.client, "judged", "judged")
                self.session.run("publish_events", enrich=is_enriching)
                self.session.run("publish_rejected")
                self.report.judged += judged
                log.info("%s: judged %s messages", self.day, f"{self.report.judged:,}")
        self.session.run("spare_other_days")

    def _gate(self, gate: Gate, *, is_repeated: bool) -> str:
        """Return the statement that judges a slice, each message as of its own micro-batch."""
        messages = sql.render(
            "clickhouse/rebuild/messages.sql",
            messages=self.session.messages,
            is_repeated=is_repeated,
        )
        return gate.statement(f"({messages})", claimed_at="ingested_at", passed_on=PASSED_ON)

    def _reject_duplicates(self) -> None:
        for place in self._logs(self.session.shadow):
            self.session.run("fresh", **place)
        for statement in self.session.render("duplicates"):
            self.session.command(statement, self.session.bound)
        if self.session.count(self.session.duplicates):
            for statement in self.session.render("reject_duplicates"):
                self.session.command(statement, self.session.bound)
        self.session.run("carry_over")

    def _audit(self) -> None:
        """Hold the shadow against the day as it was.

        Every event of the day has exactly one verdict, and no event id is there twice. Raises
        ``RebuildError`` otherwise.
        """
        lost = doubled = 0
        for place in self._logs(self.session.target):
            ((missing, repeated),) = self.session.rows("unaccounted", **place)
            lost += missing
            doubled += repeated
        if lost or doubled:
            raise RebuildError(
                f"{lost:,} events of {self.day} would have no verdict, since "
                f"{' and '.join(self.report.sources)} do not hold them any more or today's rules "
                f"move them to another day, and {doubled:,} messages would have two; "
                "the day stays as it is"
            )
        ((repeated,),) = self.session.rows("repeated_ids")
        if repeated:
            raise RebuildError(f"{repeated:,} event ids of {self.day} are there more than once")

    def _swap(self) -> None:
        session = self.session
        with publication.settled(
            self.connection, session.client, session.target, error=RebuildError
        ):
            started = time.monotonic()
            session.demand_alive()
            _refuse_expiring(self.settings, self.day)  # the wait may have taken long
            self._refuse_erased()
            session.run("arrived_meanwhile")
            self.report.arrived_meanwhile = session.count(session.arrived)
            if self.report.arrived_meanwhile:
                self._refuse_copies()
                session.rollups.fill(session.target, session.arrived)
                session.command(
                    f"INSERT INTO {session.shadow} SELECT * FROM {session.arrived}"  # noqa: S608
                )
            self.report.after = self._counts(session.shadow, session.rejected)
            touched = [row[0] for row in session.run("touched_partitions").result_rows]
            for partition_day in touched:
                session.run("keep_rejected", partition_day=partition_day)
            self.on_step("register")
            self._register()
            for statement in session.render("note_unfinished"):
                session.command(statement, session.bound)
            for partition_day in touched:
                self._replace("rejected_events", session.rejected, partition_day)
            self._replace(session.target, session.shadow, self.day)
            for rollup, shadow in session.rollups.shadows.items():
                self._replace(rollup, shadow, self.day)
            session.command(
                "INSERT INTO rebuilt_days (day, reason) VALUES ({day:Date}, 'rebuild_events')",
                session.bound,
            )
            session.command(f"DROP TABLE {session.unfinished} SYNC")
            self.report.locked_seconds = round(time.monotonic() - started, 2)
        self.report.rollups = sorted(session.rollups.shadows)

    def _refuse_erased(self) -> None:
        """The shadow may hold a person who was erased from the tables meanwhile."""
        try:
            erasures.demand_same(self.connection, self.orders)
        except erasures.ErasedMeanwhileError as error:
            raise RebuildError(f"{error}; run the rebuild again") from error

    def _refuse_copies(self) -> None:
        """An event that the rebuild brought back may have come once more meanwhile."""
        ((copies,),) = self.session.rows("copies")
        if copies:
            raise RebuildError(
                f"{copies:,} copies of events that the rebuild brings back arrived meanwhile; "
                "run it again"
            )

    def _register(self) -> None:
        if not self.session.count("fresh"):
            return
        row = self.connection.execute("SELECT horizon FROM ingest_register").fetchone()
        horizon = row["horizon"] if row else datetime.fromtimestamp(0, UTC)
        for source_id, gate in self.gates.items():
            self.session.run(
                "register",
                source_id=source_id,
                source_number=gate["source_number"],
                horizon=moment(horizon),
            )

    def _replace(self, table: str, shadow: str, partition_day: date) -> None:
        """Put the shadow's partition in the place of the table's, at once."""
        self.on_step(f"replace {table}")
        name = shadow if "." in shadow else f"{self.session.database}.{shadow}"
        replace_partition(self.session.client, table, name, partition_day)

    def _logs(self, table: str) -> list[dict[str, Any]]:
        """Return the partitions and incarnations that events of the day came through."""
        names = ("source_id", "topic", "incarnation", "partition")
        rows = self.session.rows("logs", table=table)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _counts(self, events: str, rejected: str) -> dict[str, int]:
        rows = self.session.rows("counts", events=events, rejected=rejected)
        return {verdict: count for verdict, count in rows if count}

    def _drop_shadows(self) -> None:
        """Drop everything but the note of a swap that is not finished."""
        session = self.session
        for table in (
            session.shadow,
            session.arrived,
            session.rejected,
            session.gathered,
            session.duplicates,
        ):
            session.command(f"DROP TABLE IF EXISTS {table} SYNC")
        session.rollups.drop()
