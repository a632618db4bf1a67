"""What changed past numbers: why, when, and which stretch of time it touched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import psycopg
from psycopg.rows import DictRow

from millrace.api.query.warehouse import Warehouse
from millrace.contract import ledger
from millrace.quality.windows import KINDS
from millrace.stores import sql

Cause = Literal["rebuild", "late_events", "rule", "erasure", "restore", "model"]

TOLD_FOR = timedelta(days=90)
"""Older changes are not told of."""
LATE_FOR = timedelta(days=2)
"""How far back a process that starts looks for late events."""
TOGETHER = timedelta(minutes=10)
"""Late events that came so shortly after others are one change with them."""
MOST = 100
HOUR = 3_600
EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Change:
    """A change of the numbers of ``[start, end)`` that came ``at`` a moment (UTC)."""

    cause: Cause
    detail: str
    at: datetime
    start: datetime
    end: datetime


@dataclass
class _Late:
    """Late events that came together: how many, by the hour in which they happened."""

    first_at: datetime
    at: datetime
    hours: dict[int, int] = field(default_factory=dict)

    def change(self, start: datetime, end: datetime) -> Change | None:
        """Return what it changed in ``[start, end)``, if anything."""
        first, last = start.timestamp(), end.timestamp()
        hours = [hour for hour in self.hours if hour < last and hour + HOUR > first]
        if not hours:
            return None
        count = sum(self.hours[hour] for hour in hours)
        noun = "1 event" if count == 1 else f"{count:,} events"
        return Change(
            "late_events",
            f"{noun} came after the hour in which they happened had closed.",
            self.at,
            _moment(min(hours)),
            _moment(max(hours) + HOUR),
        )


@dataclass(frozen=True)
class Known:
    """What PostgreSQL knew."""

    now: datetime
    told: list[Change]
    watermark: datetime


class Changes:
    """What one process knows; ``follow`` brings it up to date."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._told: list[Change] = []
        self._late: list[_Late] = []
        self._late_until: datetime | None = None

    def between(self, start: datetime, end: datetime) -> list[Change]:
        """Return the changes of ``[start, end)``, the newest first, each cut to that stretch.

        A change is told of only where it came after the stretch that it touched had begun.
        """
        late = [change for one in self._late if (change := one.change(start, end))]
        found = [
            replace(one, start=max(one.start, start), end=min(one.end, end))
            for one in (*self._told, *late)
            if one.start < end and one.end > start and one.at > start
        ]
        return sorted(found, key=lambda one: one.at, reverse=True)[:MOST]

    def read(self, connection: psycopg.Connection[DictRow], now: datetime) -> Known:
        """Read what PostgreSQL knows."""
        rows = connection.execute(
            sql.render("postgres/query/changes.sql"), {"since": now - TOLD_FOR}
        ).fetchall()
        told = [
            Change(
                row["cause"],
                row["detail"],
                row["at"].astimezone(UTC),
                row["start"].astimezone(UTC) if row["start"] else EPOCH,
                row["end"].astimezone(UTC) if row["end"] else datetime.max.replace(tzinfo=UTC),
            )
            for row in rows
        ]
        return Known(now, told, ledger.watermark(connection))

    async def follow(self, read: Known, warehouse: Warehouse) -> None:
        """Add what the warehouse knows, and the late events that came since the last time."""
        since = _milliseconds(read.now - TOLD_FOR)
        rows = await self._ask(warehouse, "changes", since=since)
        self._told = read.told + [
            Change(cause, detail, _moment(at / 1000), _moment(start), _moment(end))
            for cause, detail, at, start, end in rows
        ]
        since_late = self._late_until or read.watermark - LATE_FOR
        if read.watermark > since_late:
            found = await self._ask(
                warehouse,
                "late",
                since=_milliseconds(since_late),
                until=_milliseconds(read.watermark),
                closes_after=HOUR + int(KINDS["1h"].grace.total_seconds()),
            )
            self._add_late(read.watermark, found)
            self._late_until = read.watermark
        self._late = [one for one in self._late if one.at > read.now - TOLD_FOR]

    def _add_late(self, at: datetime, found: Iterable[tuple[int, int]]) -> None:
        hours = dict(found)
        if not hours:
            return
        if not self._late or at - self._late[-1].first_at > TOGETHER:
            self._late.append(_Late(at, at))
        last = self._late[-1]
        last.at = at
        for hour, events in hours.items():
            last.hours[hour] = last.hours.get(hour, 0) + events

    async def _ask(self, warehouse: Warehouse, name: str, **values: Any) -> list[Any]:
        statement = sql.render(f"clickhouse/query/{name}.sql", base=self._base)
        return (await warehouse.ask(statement, values)).rows


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
