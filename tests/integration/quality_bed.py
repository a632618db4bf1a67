"""What tests of audits and metrics share: messages as a loader leaves them, and verdicts."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace.quality.windows import Window, window_at
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres

SOURCE = "test"
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
HOUR = window_at("1h", NOW - timedelta(hours=30))


class Warehouse:
    """Writes messages as a loader would have left them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = clickhouse.connect(settings)
        self.offset = 0

    def write(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Insert rows whose keys are columns."""
        columns = list(rows[0])
        self.client.insert(table, [list(row.values()) for row in rows], column_names=columns)

    def message(self, offset: int, value: str, at: datetime = HOUR.start) -> dict[str, Any]:
        """Return a row of ``raw_events``."""
        return {
            "source_id": SOURCE,
            "topic": SOURCE,
            "partition": 0,
            "offset": offset,
            "kafka_timestamp": at,
            "value": value,
            "ingested_at": at,
        }

    def event(self, offset: int, at: datetime = HOUR.start, **changes: Any) -> dict[str, Any]:
        """Return a row of ``events``."""
        return {
            "source_id": SOURCE,
            "topic": SOURCE,
            "partition": 0,
            "offset": offset,
            "event_id": uuid.uuid4(),
            "event_time": at,
            "event_type": "click",
            "user_id": 7,
            "country": "DE",
            "device": "mobile",
            "received_at": at,
            "ingested_at": at,
        } | changes

    def load(self, times: list[datetime], **changes: Any) -> list[dict[str, Any]]:
        """Load an event at each time, kept and published, each from a user of its own."""
        made = []
        for at in times:
            self.offset += 1
            made.append(self.event(self.offset, at, user_id=self.offset, page="/home") | changes)
        self.write("events", made)
        raw = [
            self.message(
                row["offset"],
                json.dumps(
                    {
                        "event_id": str(row["event_id"]),
                        "event": row["event_type"],
                        "user_id": row["user_id"],
                    }
                ),
                row["received_at"],
            )
            | {"ingested_at": row["ingested_at"]}
            for row in made
        ]
        self.write("raw_events", raw)
        return made

    def empty(self) -> None:
        """Forget all messages, and every audit of them."""
        tables = ("raw_events", "events", "rejected_events", "rebuilt_days", "quality_audits")
        kept = ("quality_metrics", "quality_anomalies", "quality_hours", "quality_watermarks")
        for table in (*tables, *kept):
            self.client.command(f"TRUNCATE TABLE {table} SYNC")
        with postgres.connect(self.settings) as connection:
            connection.execute("TRUNCATE published_windows")


def verdicts(settings: Settings, window: Window) -> dict[str, tuple[str, str]]:
    """Return status and reason of a window by dataset."""
    with postgres.connect(settings) as connection:
        rows = connection.execute(
            "SELECT dataset, status, reason FROM published_windows "
            "WHERE window_start = %s AND window_end = %s",
            [window.start, window.end],
        ).fetchall()
    return {row["dataset"]: (row["status"], row["reason"]) for row in rows}


def minutes(*values: int) -> list[datetime]:
    return [HOUR.start + timedelta(minutes=value) for value in values]
