"""The restore drill: the newest backups, into empty servers, compared, and ingest resumed there."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from confluent_kafka import KafkaError, TopicPartition
from psycopg import sql as pgsql
from psycopg.types.json import Jsonb

from millrace import processes
from millrace.backups import catalogue, gateway, metadata, metrics, restore, wal
from millrace.backups.catalogue import Entry
from millrace.backups.gateway import BackupError
from millrace.contract import locks
from millrace.settings import Settings
from millrace.stores import clickhouse, kafka, postgres, sql

log = logging.getLogger(__name__)

RPO_SECONDS = 60.0
"""What metadata may lose: older is a failure of the drill."""
RESUME_SECONDS = 600.0
GROUP = "millrace.drill"


@dataclass
class Report:
    """What a drill found; ``steps`` are (what, result, seconds)."""

    drill_id: int
    backup_id: str = ""
    metadata_backup_id: str = ""
    state: str = "failed"
    rto_seconds: float | None = None
    rpo_seconds: float | None = None
    steps: list[tuple[str, str, float]] = field(default_factory=list)

    def text(self) -> str:
        """Return the report as Markdown."""
        lines = [
            f"# Restore drill {self.drill_id}: {self.state}",
            f"backups {self.backup_id} and {self.metadata_backup_id}",
            f"RTO {_seconds(self.rto_seconds)} (restored and every value compared), "
            f"RPO of metadata {_seconds(self.rpo_seconds)}",
            "",
            "| step | result | seconds |",
            "|---|---|---|",
        ]
        lines += [f"| {what} | {result} | {took:.1f} |" for what, result, took in self.steps]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values that read well as JSON."""
        return {
            "drill": f"{self.drill_id} {self.state}",
            "restored": [self.backup_id, self.metadata_backup_id],
            "RTO": f"{_seconds(self.rto_seconds)} (restored and every value compared)",
            "RPO of metadata": _seconds(self.rpo_seconds),
            "steps": {what: f"{result} ({took:.1f} s)" for what, result, took in self.steps},
        }


class DrillError(BackupError):
    """The drill failed; ``report`` says at which step, and what had passed before."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.text())
        self.report = report


def _seconds(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.1f} s"


class Drill:
    """One drill; its servers and folder are gone when it ends, whatever happens.

    ``empty_clickhouse`` gives the URL of an empty server, which may keep its files in a folder;
    ``resume_ingest`` lets ingest catch up with Kafka, in so many seconds at most, or raises.
    """

    def __init__(
        self,
        settings: Settings,
        empty_clickhouse: Callable[[Settings, Path], AbstractContextManager[str]],
        resume_ingest: Callable[[Settings, float], None],
    ) -> None:
        self.settings = settings
        self.empty_clickhouse = empty_clickhouse
        self.resume_ingest = resume_ingest
        self.folder = settings.home / "drill"
        with postgres.connect(settings) as connection:
            row = postgres.one(
                connection.execute("INSERT INTO restore_drills DEFAULT VALUES RETURNING drill_id")
            )
        self.report = Report(row["drill_id"])

    def run(self) -> Report:
        """Run every step; raises ``DrillError`` with the report when one fails.

        Raises ``BackupError`` while another drill runs.
        """
        busy = BackupError("another drill is running; wait for it")
        with postgres.connect(self.settings) as connection:
            try:
                with locks.at_once(connection, locks.DRILL, error=busy):
                    return self._alone()
            except BackupError as error:
                if error is busy:  # it says nothing of the backups
                    connection.execute(
                        "DELETE FROM restore_drills WHERE drill_id = %s", [self.report.drill_id]
                    )
                raise

    def _alone(self) -> Report:
        try:
            with ExitStack() as stack:
                self._run(stack)
            self.report.state = "passed"
        except Exception as error:
            self.report.steps.append(("FAILED", str(error).replace("\n", " ")[:1000], 0.0))
            raise DrillError(self.report) from error
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._record()
            self._write_metrics()
        return self.report

    def _write_metrics(self) -> None:
        """Write the metrics of this drill: metadata is proved once it was read in full."""
        done = {what for what, _, _ in self.report.steps}
        proved = {
            "warehouse": self.report.state == "passed",
            "metadata": "read PostgreSQL" in done,
        }
        metrics.drilled(self.settings, proved)

    def _run(self, stack: ExitStack) -> None:
        objects = gateway.ensure_folders(self.settings)
        # Servers of a drill that was killed end by themselves, but take their time.
        processes.kill(processes.working_in([self.folder]))
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o711)
        self.report.rpo_seconds = self._step("log reaches the bucket", self._measure_rpo)[0]
        self._step("metrics are written", lambda: metrics.check(self.settings))
        entry = catalogue.choose(objects)
        base = metadata.choose(objects)
        self.report.backup_id, self.report.metadata_backup_id = entry.backup_id, base.backup_id
        self._step("objects of the chain", lambda: catalogue.check_objects(objects, entry))
        self._step("nothing was left out", lambda: self._compare_tables(entry))

        began = time.monotonic()
        data = self.folder / "postgres"
        self._step("lay PostgreSQL", lambda: metadata.restore(self.settings, data, base))
        port = processes.free_port()
        self._step(
            "recover PostgreSQL",
            lambda: stack.enter_context(metadata.running(data, port, self.folder / "postgres.log")),
        )
        server = self.empty_clickhouse(self.settings, self.folder)
        url = self._step("empty ClickHouse", lambda: stack.enter_context(server))
        isolated = self._isolated(url, port)
        self._step("restore ClickHouse", lambda: _restore(isolated, entry))
        self._step("read PostgreSQL", lambda: self._read_metadata(isolated))
        self.report.rto_seconds = time.monotonic() - began
        self._step("smoke queries", lambda: self._smoke(isolated, entry))
        self._step("resume ingest from Kafka", lambda: self._resume(isolated, entry))

    def _step(self, what: str, work: Callable[[], Any]) -> Any:
        began = time.monotonic()
        result = work()
        took = time.monotonic() - began
        said = result if isinstance(result, str) else "as it should be"
        if isinstance(result, tuple):
            said = str(result[1])
        self.report.steps.append((what, said, took))
        log.info("%s: %s (%.1f s)", what, said, took)
        return result

    def _measure_rpo(self) -> tuple[float, str]:
        """Return how long a committed row took to reach the bucket: the drill's own row."""
        waited = wal.await_archived(self.settings, RPO_SECONDS)
        return waited, f"{waited:.1f} s after the commit"

    def _compare_tables(self, entry: Entry) -> None:
        """Raise unless every table of the live warehouse that has rows is in the backup."""
        with clickhouse.connect(self.settings, database="default") as client:
            live = client.query(
                sql.render("clickhouse/backups/tables.sql", existed_at=True),
                parameters={
                    "databases": entry.databases,
                    "until": entry.cut_at[:19].replace("T", " "),
                },
            ).result_rows
        missing = {f"{d}.{n}" for d, n, _ in live} - {
            f"{t.database}.{t.name}" for t in entry.tables
        }
        if missing:
            raise BackupError(f"not in {entry.backup_id}: {', '.join(sorted(missing))}")

    def _isolated(self, clickhouse_url: str, postgres_port: int) -> Settings:
        """Return settings in which warehouse and metadata are the restored ones."""
        parts = urlsplit(self.settings.postgres_url)
        place = f"{parts.username}@127.0.0.1:{postgres_port}"
        isolated = self.settings.model_copy(
            update={
                "clickhouse_url": clickhouse_url,
                "postgres_url": urlunsplit(parts._replace(netloc=place)),
                "home": self.folder,
            }
        )
        with postgres.connect(isolated) as connection:
            # Offsets that the drill commits are nobody's business.
            connection.execute(
                sql.render("postgres/backups/own_consumers.sql"),
                [Jsonb({"group.id": GROUP})],
            )
        return isolated

    def _read_metadata(self, isolated: Settings) -> str:
        """Read every column of every table; the drill's own row must have come along."""
        with postgres.connect(isolated) as connection:
            found = connection.execute(
                "SELECT 1 FROM restore_drills WHERE drill_id = %s", [self.report.drill_id]
            ).fetchone()
            if found is None:
                raise BackupError("the row that the drill wrote was not restored")
            tables = connection.execute(sql.render("postgres/backups/base_tables.sql")).fetchall()
            rows = 0
            for table in tables:
                query = pgsql.SQL("SELECT count(*) AS n, sum(length(t::text)) FROM {} AS t")
                name = pgsql.Identifier(table["table_name"])
                counted = connection.execute(query.format(name)).fetchone()
                rows += counted["n"] if counted else 0
        return f"{len(tables)} tables, {rows:,} rows readable"

    def _smoke(self, isolated: Settings, entry: Entry) -> str:
        """Ask what a dashboard asks; where rollups are backed up they must agree with events."""
        with clickhouse.connect(isolated) as client:
            total, kinds = client.query(
                "SELECT count(), uniqExact(event_type) FROM events"
            ).result_rows[0]
            said = f"{total:,} events of {kinds} types"
            if any((t.database, t.name) == ("analytics", "metrics_1h") for t in entry.tables):
                summed = client.query(sql.render("clickhouse/backups/smoke.sql")).result_rows[0]
                if summed[0] != summed[1]:
                    raise BackupError(
                        f"metrics_1h counts {summed[0]:,} events, metrics_1min {summed[1]:,}"
                    )
                said += f", metrics count {summed[0]:,}"
        return said

    def _resume(self, isolated: Settings, entry: Entry) -> str:
        """Let ingest catch up with Kafka, then count: no offset missing, none twice."""
        if not entry.positions:
            return "no source has been ingested yet"
        places = [(p["topic"], p["partition"]) for p in entry.positions]
        # of a partition that is gone, Kafka has nothing
        targets = dict.fromkeys(places, 0) | kafka.ends(self.settings, places)
        self.resume_ingest(isolated, RESUME_SECONDS)
        expected = self._messages(entry, targets)
        total = 0
        with clickhouse.connect(isolated) as client:
            for position in entry.positions:
                key = (position["topic"], position["partition"])
                rows, offsets = client.query(
                    sql.render("clickhouse/backups/resumed.sql"),
                    parameters={
                        "topic": position["topic"],
                        "incarnation": position["topic_incarnation"],
                        "partition": position["partition"],
                        "first": position["next_offset"],
                        "next": targets[key],
                    },
                ).result_rows[0]
                if not rows == offsets == expected[key]:
                    raise BackupError(
                        f"{key[0]}[{key[1]}] from {position['next_offset']}: Kafka has "
                        f"{expected[key]:,} messages, the warehouse {rows:,} rows of {offsets:,}"
                    )
                total += rows
        return f"{total:,} messages since the backup, none missing, none twice"

    def _messages(
        self, entry: Entry, targets: dict[tuple[str, int], int]
    ) -> dict[tuple[str, int], int]:
        """Count what Kafka holds from each recorded position to its target, by reading it."""
        counted = dict.fromkeys(targets, 0)
        consumer = kafka.consumer(self.settings, GROUP, **{"enable.partition.eof": True})
        try:
            starts = {(p["topic"], p["partition"]): p["next_offset"] for p in entry.positions}
            pending = {key for key, start in starts.items() if start < targets[key]}
            consumer.assign([TopicPartition(*key, starts[key]) for key in pending])
            deadline = time.monotonic() + RESUME_SECONDS
            while pending:
                if time.monotonic() > deadline:
                    raise BackupError(f"Kafka did not give all of {sorted(pending)} in time")
                for message in consumer.consume(10_000, timeout=1):
                    key = (message.topic(), message.partition())
                    error = message.error()
                    ended = error is not None and error.code() == KafkaError._PARTITION_EOF
                    if error is not None and not ended:
                        raise BackupError(
                            f"{key[0]}[{key[1]}] can't be read from the backup's position "
                            f"{starts[key]:,} on: {error.str()}"
                        )
                    if not ended and message.offset() < targets[key]:
                        counted[key] += 1
                    if ended or message.offset() + 1 >= targets[key]:
                        pending.discard(key)
        finally:
            consumer.close()
        return counted

    def _record(self) -> None:
        report = self.report
        with postgres.connect(self.settings) as connection:
            connection.execute(
                sql.render("postgres/backups/end_drill.sql"),
                [
                    datetime.now(UTC), report.state, report.backup_id, report.metadata_backup_id,
                    report.rto_seconds, report.rpo_seconds, Jsonb(report.steps), report.drill_id,
                ],
            )  # fmt: skip


def _restore(isolated: Settings, entry: Entry) -> str:
    """Restore a backup; it compares every table with the catalogue."""
    done = restore.restore(isolated, entry)
    return f"{done.tables} tables, {done.rows:,} rows: rows and hashes agree"
