"""The rebuild of a day: judge its messages anew, audit the result, and swap it in.

A rebuild of day D covers every message that is an event of D, every message that Kafka got on D
and that was rejected, and rejected messages of the days around that today's rules make events of
D. It works in shadow tables (``events__rebuild_20260131``) and leaves the live ones alone until,
under the publication lock, it adds what has arrived meanwhile and replaces the partitions.
``docs/decisions/rebuild-a-day.md`` says why, and what happens in which order.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from millrace.ingest import enrichment, rollups
from millrace.ingest.ledger import EXCLUSIVE_LOCK
from millrace.ingest.warehouse import moment
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql

log = logging.getLogger(__name__)

SLICE = 1_000_000
"""Offsets judged at a time; bounds the memory."""

OPEN_BATCH_DEADLINE_SECONDS = 300

_GATE_INPUT, _GATE_OUTPUT = "FROM incoming\n", "\nFROM judged"
_GATE_NOW = "{claimed_at:DateTime64(3, 'UTC')}"
_THROUGH = "source_id, key, value, headers, batch_id, ingested_at"


class RebuildError(RuntimeError):
    """The day could not be rebuilt; it is as it was. The message says why."""


@dataclass
class Report:
    """What a rebuild changed: messages by verdict (``event`` or the reason), before and after."""

    day: str
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    judged: int = 0
    arrived_meanwhile: int = 0
    sources: list[str] = field(default_factory=list)
    rollups: list[str] = field(default_factory=list)
    seconds: float = 0.0
    locked_seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for Airflow to carry."""
        return asdict(self)

    def __str__(self) -> str:
        verdicts = sorted({*self.before, *self.after})
        changes = ", ".join(
            f"{v} {self.before.get(v, 0):,} → {self.after.get(v, 0):,}" for v in verdicts
        )
        return (
            f"{self.day}: {changes or 'nothing there'}; judged {self.judged:,} messages from "
            f"{', '.join(self.sources) or 'nowhere'}, {self.arrived_meanwhile:,} events arrived "
            f"meanwhile, {self.seconds:.1f} s, of which publishing waited {self.locked_seconds:.1f}"
        )


def rebuild(settings: Settings, day: date, target: str = "events") -> Report:
    """Rebuild a day of an event table, its rejected messages and its rollups.

    Raises ``RebuildError`` when the day can't be rebuilt or its audit fails; live tables are then
    as they were. A rebuild that was killed is cleaned up by the next one of the same day.
    """
    with postgres.connect(settings) as connection:
        key = f"millrace.rebuild.{target}.{day}"
        row = connection.execute(
            "SELECT pg_try_advisory_lock(hashtext(%s)) AS is_mine", [key]
        ).fetchone()
        if row is None or not row["is_mine"]:
            raise RebuildError(f"another rebuild of {day} is under way; wait for it to end")
        return _Rebuild(settings, connection, day, target).run()


class _Rebuild:
    """One run."""

    def __init__(
        self, settings: Settings, connection: psycopg.Connection[DictRow], day: date, target: str
    ) -> None:
        self.settings, self.connection, self.day, self.target = settings, connection, day, target
        self.client = clickhouse.connect(settings, session_id=f"rebuild-{uuid.uuid4().hex}")
        self.database = clickhouse.database(settings)
        suffix = f"__rebuild_{day:%Y%m%d}"
        self.shadow = f"{target}{suffix}"
        self.arrived = f"{target}{suffix}_arrived"
        self.rejected = f"rejected_events{suffix}"
        self.held = f"raw_events{suffix}"
        self.duplicates = f"{target}{suffix}_duplicates"
        self.messages = "raw_events"
        self.rollups = rollups.Rollups(self.client, self.database, suffix)
        self.report = Report(day=str(day))
        self.gates: dict[str, DictRow] = {}
        self.bound: dict[str, Any] = {}

    def run(self) -> Report:
        started = time.monotonic()
        try:
            self._prepare()
            self._find_messages()
            self._judge()
            self._reject_duplicates()
            self._audit()
            self.rollups.fill(self.target, self.shadow)
            self._swap()
        finally:
            self._drop_shadows()
            self.client.close()
        self.report.seconds = round(time.monotonic() - started, 2)
        log.info("%s", self.report)
        return self.report

    def _prepare(self) -> None:
        rows = self.connection.execute(
            sql.render("postgres/rebuild/gates.sql"), {"target": self.target}
        )
        self.gates = {row["source_id"]: row for row in rows}
        if not self.gates:
            raise RebuildError(f"no active source has {self.target} as its target and a gate")
        with self.connection.transaction():
            # Waits for claims under way, which would otherwise commit with an earlier number.
            self.connection.execute("LOCK TABLE ingest_batches IN SHARE MODE")
            snapshot = self.connection.execute(
                sql.render("postgres/rebuild/snapshot.sql")
            ).fetchone()
        assert snapshot is not None  # noqa: S101  a SELECT without FROM has a row
        self.bound = {
            "day": self.day,
            "sources": list(self.gates),
            "last_batch": snapshot["last_batch"],
            "open_batches": snapshot["open_batches"],
            "reach": self.settings.raw_retention_days,
            "window_hours": self.settings.duplicate_window_hours,
        }
        self._drop_shadows()
        for shadow, original in (
            (self.shadow, self.target),
            (self.arrived, self.target),
            (self.rejected, "rejected_events"),
        ):
            self._command(f"CREATE TABLE {shadow} AS {original}")
        for statement in self._render("session"):
            self._command(statement)
        self._run("elsewhere")
        self.report.before = self._counts(self.target, "rejected_events")

    def _find_messages(self) -> None:
        """Settle where the messages come from: ``raw_events``, or a copy put together."""
        rows = self._run("expected").result_rows
        gone = [day for day, verdicts, held in rows if held < verdicts]
        if not any(held for _, _, held in rows) and self.day not in gone:
            gone.append(self.day)  # nothing is left to tell what there was
        if not gone:
            self.report.sources = ["raw_events"]
            return
        self._command(f"CREATE TABLE {self.held} AS raw_events")
        # What the retention of raw_events has dropped must not be dropped here as well.
        if self._number(sql.render("clickhouse/rebuild/has_ttl.sql", table=self.held)):
            self._command(f"ALTER TABLE {self.held} REMOVE TTL")
        self.messages = self.held
        self._run("from_raw", gone=gone)
        windows = self.connection.execute(
            sql.render("postgres/rebuild/archived_windows.sql"), {"days": gone}
        ).fetchall()
        collection = clickhouse.object_collection(self.client, self.settings)
        for window in windows:
            self._run("from_archive", collection=collection, prefix=window["prefix"])
        self.report.sources = ["raw_events", "the raw archive"] if windows else ["raw_events"]

    def _judge(self) -> None:
        is_enriching = enrichment.is_ready(self.client)
        for source_id, gate in self.gates.items():
            slices = self._run("slices", source_id=source_id, slice=SLICE).result_rows
            statement = self._gate(source_id, gate["statement"])
            for topic, incarnation, partition, slot, count in slices:
                self._command("TRUNCATE TABLE judged")
                place = {
                    "source_id": source_id,
                    "topic": topic,
                    "incarnation": incarnation,
                    "partition": partition,
                    "first": slot * SLICE,
                    "next": (slot + 1) * SLICE,
                }
                self._run("judge", gate=statement, **place)
                judged = self._number("SELECT count() FROM judged")
                distinct = self._number("SELECT uniqExact(offset) FROM judged")
                if judged != distinct or judged > count:
                    raise RebuildError(f"the gate of {source_id} lost or doubled a message")
                self._run("publish_events", enrich=is_enriching)
                self._run("publish_rejected")
                self.report.judged += judged
                log.info("%s: judged %s messages", self.day, f"{self.report.judged:,}")
        self._run("spare_other_days")

    def _gate(self, source_id: str, statement: str) -> str:
        """Return a gate that reads a slice and passes on what the shadow's rows need besides."""
        text = statement.rstrip().rstrip(";").rstrip()
        if _GATE_INPUT not in text or not text.endswith(_GATE_OUTPUT):
            raise RebuildError(
                f"the gate of {source_id} does not read {_GATE_INPUT!r} and end in {_GATE_OUTPUT!r}"
            )
        # Each message is judged as of its own micro-batch, as it was the first time.
        text = text.replace(_GATE_NOW, "rebuild_claimed_at")
        messages = sql.render("clickhouse/rebuild/messages.sql", messages=self.messages)
        text = text.replace(_GATE_INPUT, f"FROM ({messages})\n", 1)
        return f"{text.removesuffix(_GATE_OUTPUT)},\n    {_THROUGH}{_GATE_OUTPUT}"

    def _reject_duplicates(self) -> None:
        for source_id, partition in self._partitions(self.shadow):
            self._run("fresh", source_id=source_id, partition=partition)
        self._run("duplicates")
        if self._number(f"SELECT count() FROM {self.duplicates}"):  # noqa: S608
            for statement in self._render("reject_duplicates"):
                self._command(statement, self.bound)
        self._run("carry_over")

    def _audit(self) -> None:
        """Hold the shadow against the day as it was.

        Every event of the day has exactly one verdict, and no event id is there twice. Raises
        ``RebuildError`` otherwise.
        """
        lost = doubled = 0
        for source_id, partition in self._partitions(self.target):
            row = self._run("unaccounted", source_id=source_id, partition=partition).result_rows[0]
            lost += row[0]
            doubled += row[1]
        if lost or doubled:
            raise RebuildError(
                f"{lost:,} events of {self.day} would have no verdict, since "
                f"{' and '.join(self.report.sources)} do not hold them any more or today's rules "
                f"move them to another day, and {doubled:,} messages would have two; "
                "the day stays as it is"
            )
        repeated = self._number(
            f"SELECT count() - uniqExact(event_id) FROM {self.shadow} "  # noqa: S608
            "WHERE source_id IN {sources:Array(String)}"
        )
        if repeated:
            raise RebuildError(f"{repeated:,} event ids of {self.day} are there more than once")

    def _swap(self) -> None:
        with self._alone():
            started = time.monotonic()
            self._run("arrived_meanwhile")
            self.report.arrived_meanwhile = self._number(f"SELECT count() FROM {self.arrived}")  # noqa: S608
            if self.report.arrived_meanwhile:
                self._refuse_copies()
                self.rollups.fill(self.target, self.arrived)
                self._command(f"INSERT INTO {self.shadow} SELECT * FROM {self.arrived}")  # noqa: S608
            self.report.after = self._counts(self.shadow, self.rejected)
            touched = [row[0] for row in self._run("touched_partitions").result_rows]
            for partition_day in touched:
                self._run("keep_rejected", partition_day=partition_day)
            self._register()
            for partition_day in touched:
                self._replace("rejected_events", self.rejected, partition_day)
            self._replace(self.target, self.shadow, self.day)
            for rollup, shadow in self.rollups.shadows.items():
                self._replace(rollup, shadow, self.day)
            self._command(
                "INSERT INTO rebuilt_days (day, reason) VALUES ({day:Date}, 'rebuild_events')",
                self.bound,
            )
            self.report.locked_seconds = round(time.monotonic() - started, 2)
        self.report.rollups = sorted(self.rollups.shadows)

    def _refuse_copies(self) -> None:
        """An event that the rebuild brought back may have come once more meanwhile."""
        copies = self._number(
            f"SELECT count() FROM {self.arrived} WHERE event_id IN (SELECT event_id FROM fresh)"  # noqa: S608
        )
        if copies:
            raise RebuildError(
                f"{copies:,} copies of events that the rebuild brings back arrived meanwhile; "
                "run it again"
            )

    def _register(self) -> None:
        row = self.connection.execute("SELECT horizon FROM ingest_register").fetchone()
        horizon = row["horizon"] if row else datetime.fromtimestamp(0, UTC)
        for source_id, gate in self.gates.items():
            self._run(
                "register",
                source_id=source_id,
                source_number=gate["source_number"],
                horizon=moment(horizon),
            )

    def _replace(self, table: str, shadow: str, partition_day: date) -> None:
        """Put the shadow's partition in the place of the table's, at once."""
        name = shadow if "." in shadow else f"{self.database}.{shadow}"
        (part_rows,) = self.client.query(
            "SELECT sum(rows) FROM system.parts WHERE active AND partition = {partition:String} "
            "AND concat(database, '.', table) = {name:String}",
            parameters={"partition": str(partition_day), "name": name},
        ).result_rows[0]
        if part_rows:
            self._command(f"ALTER TABLE {table} REPLACE PARTITION '{partition_day}' FROM {shadow}")
        else:
            self._command(f"ALTER TABLE {table} DROP PARTITION '{partition_day}'")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the publication lock, with no micro-batch half published.

        A batch whose rows are in the table while the ledger has it open will be repeated, and a
        rollup swapped in between would not know its token; so such batches end first.
        """
        deadline = time.monotonic() + OPEN_BATCH_DEADLINE_SECONDS
        while True:
            with self.connection.transaction():
                self.connection.execute(f"SELECT {EXCLUSIVE_LOCK}")
                half = self._half_published()
                if not half:
                    yield
                    return
            if time.monotonic() > deadline:
                raise RebuildError(
                    f"micro-batches {half} have been half published for "
                    f"{OPEN_BATCH_DEADLINE_SECONDS} s; see that ingest_events runs, then clear "
                    "this task"
                )
            time.sleep(0.5)

    def _half_published(self) -> list[int]:
        rows = self.connection.execute(
            "SELECT batch_id FROM ingest_batches WHERE state = 'claimed'"
        ).fetchall()
        if not rows:
            return []
        found = self.client.query(
            f"SELECT DISTINCT batch_id FROM {self.target} "  # noqa: S608
            "WHERE batch_id IN {ids:Array(UInt64)}",
            parameters={"ids": [row["batch_id"] for row in rows]},
        )
        return [row[0] for row in found.result_rows]

    def _partitions(self, table: str) -> list[tuple[str, int]]:
        rows = self.client.query(
            f"SELECT DISTINCT source_id, partition FROM {table} "  # noqa: S608
            "WHERE toDate(event_time) = {day:Date} AND source_id IN {sources:Array(String)}",
            parameters=self.bound,
        ).result_rows
        return [(source_id, partition) for source_id, partition in rows]

    def _counts(self, events: str, rejected: str) -> dict[str, int]:
        rows = self._run("counts", events=events, rejected=rejected).result_rows
        return {verdict: count for verdict, count in rows if count}

    def _drop_shadows(self) -> None:
        for table in (self.shadow, self.arrived, self.rejected, self.held, self.duplicates):
            self._command(f"DROP TABLE IF EXISTS {table} SYNC")
        self.rollups.drop()

    def _render(self, name: str, **variables: Any) -> list[str]:
        tables = {
            "target": self.target,
            "shadow": self.shadow,
            "arrived": self.arrived,
            "rejected_shadow": self.rejected,
            "duplicates": self.duplicates,
            "messages": self.messages,
        }
        # A DELETE is a mutation, which has neither a default database nor temporary tables.
        names = {name: f"{self.database}.{table}" for name, table in tables.items()}
        names["target_name"] = self.target
        return sql.render_all(f"clickhouse/rebuild/{name}.sql", **{**names, **variables})

    def _run(self, name: str, **values: Any) -> Any:
        """Run ``rebuild/<name>.sql``; ``values`` fill the template or are bound."""
        (statement,) = self._render(name, **values)
        return self.client.query(
            statement, parameters={**self.bound, **values}, settings=rollups.SETTINGS
        )

    def _command(self, statement: str, parameters: dict[str, Any] | None = None) -> None:
        self.client.command(statement, parameters=parameters, settings=rollups.SETTINGS)

    def _number(self, statement: str) -> int:
        return int(str(self.client.query(statement, parameters=self.bound).result_rows[0][0]))
