"""Where ingest stands, read from the ledger, Kafka and the warehouse; it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow

from millrace.contract import sources
from millrace.ingest import topics
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql

RECENT_SECONDS = 300


@dataclass(frozen=True)
class PartitionStatus:
    """One partition: where it stands, where Kafka's end is, and who owns it."""

    source_id: str
    topic: str
    partition: int
    next_offset: int
    end_offset: int | None
    owner: str
    is_held: bool
    reached_at: datetime | None

    @property
    def lag(self) -> int | None:
        """Messages that wait, or ``None`` when Kafka does not answer."""
        return None if self.end_offset is None else max(0, self.end_offset - self.next_offset)


@dataclass(frozen=True)
class IngestStatus:
    """Everything that ``./millrace ingest status`` and the metrics show of the ledger."""

    partitions: list[PartitionStatus]
    recent: list[dict[str, Any]]
    incidents: list[dict[str, Any]]
    incident_totals: dict[tuple[str, str], int]


def read(settings: Settings, *, incident_limit: int = 20) -> IngestStatus:
    """Read the status. Kafka may be away: then ends and lags are unknown.

    Raises ``psycopg.OperationalError`` when PostgreSQL does not answer.
    """
    with postgres.connect(settings) as connection:
        partitions = []
        for source in sources.active(connection):
            positions = connection.execute(
                sql.render("postgres/ingest/positions.sql"),
                {"source_id": source.source_id, "topic": source.topic},
            ).fetchall()
            ends = _ends(settings, source.topic, [row["partition"] for row in positions])
            partitions += [
                PartitionStatus(
                    source_id=source.source_id,
                    topic=source.topic,
                    partition=row["partition"],
                    next_offset=row["next_offset"],
                    end_offset=ends.get(row["partition"]),
                    owner=row["owner"],
                    is_held=row["is_held"],
                    reached_at=row["reached_at"],
                )
                for row in positions
            ]
        return IngestStatus(
            partitions=partitions,
            recent=_rows(connection, "recent", seconds=RECENT_SECONDS),
            incidents=_rows(connection, "incidents", days=30, limit=incident_limit),
            incident_totals={
                (row["source_id"], row["kind"]): row["n"]
                for row in connection.execute(
                    "SELECT source_id, kind, count(*) AS n FROM ingest_incidents GROUP BY 1, 2"
                )
            },
        )


def warehouse_totals(settings: Settings) -> dict[str, float]:
    """Return what the warehouse holds: rows and bytes by base table, and ids in the register.

    Raises ``clickhouse_connect.driver.exceptions.ClickHouseError`` when it does not answer.
    """
    with clickhouse.connect(settings, "loader") as client:
        rows = client.query(
            sql.render("clickhouse/ingest/totals.sql"),
            parameters={"database": clickhouse.database(settings)},
        ).result_rows
        return {str(name): float(value) for name, value in rows}


def _ends(settings: Settings, topic: str, partitions: list[int]) -> dict[int, int]:
    from confluent_kafka import KafkaException

    if not partitions:
        return {}
    try:
        found = topics.offsets(settings, topic, partitions, timeout=3)
    except KafkaException:
        return {}
    return {partition: high for partition, (_, high) in found.items()}


def _rows(connection: Connection[DictRow], name: str, **values: object) -> list[dict[str, Any]]:
    return connection.execute(sql.render(f"postgres/ingest/{name}.sql"), values).fetchall()
