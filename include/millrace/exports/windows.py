"""Which windows may be exported, and which must be exported again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from clickhouse_connect.driver.client import Client
from psycopg.rows import DictRow

from millrace.exports.definitions import Definition, ExportError
from millrace.settings import Settings
from millrace.stores import clickhouse, sql


@dataclass(frozen=True)
class Window:
    """A window of an export, half open, in UTC, and why it is due."""

    name: str
    start: datetime
    end: datetime
    cause: str = "scheduled"


def align(definition: Definition, moment: datetime) -> Window:
    """Return the last window of a definition that ended at or before ``moment``."""
    moment = moment.astimezone(UTC)
    end = moment.replace(minute=0, second=0, microsecond=0)
    if definition.window == timedelta(days=1):
        end = end.replace(hour=0)
    return Window(definition.name, end - definition.window, end)


def folder(definition: Definition, window: Window) -> str:
    """Return the Hive-style folder of a window: ``date=…/hour=…``, or ``date=…`` for a day."""
    date = f"date={window.start:%Y-%m-%d}"
    return date if definition.schedule == "daily" else f"{date}/hour={window.start:%H}"


def check_aligned(definition: Definition, window: Window) -> None:
    """Raise ``ExportError`` unless the window is one of the definition's own."""
    if align(definition, window.end) != Window(definition.name, window.start, window.end):
        unit = "UTC day" if definition.window == timedelta(days=1) else "UTC hour"
        raise ExportError(f"export {definition.name}: {window.start} to {window.end} is no {unit}")


def due(
    settings: Settings,
    connection: psycopg.Connection[DictRow],
    client: Client,
    definitions: list[Definition],
    until: datetime,
    lookback: timedelta,
) -> list[Window]:
    """Return the windows to export now, oldest first.

    Those of every scheduled definition that ended by ``until``, began within ``lookback`` of it,
    and either were never published, or got late events or a rebuilt day since. A window without
    rows is due only after the first published one: before it there was nothing to tell apart.
    """
    found = []
    for definition in definitions:
        if definition.schedule == "on_demand":
            continue
        last = align(definition, until)
        starts = []
        start = last.start
        while start >= until - max(lookback, definition.window * 2):
            starts.append(start)
            start -= definition.window
        known = _published(connection, definition, starts)
        rows = _row_counts(settings, client, definition, min(starts), last.end)
        late = _late(settings, client, definition, known, rows)
        first = min(known, default=last.end)
        for start in sorted(starts):
            end = start + definition.window
            if start not in known:
                if start in rows or start > first:
                    found.append(Window(definition.name, start, end))
            elif start in late:
                found.append(Window(definition.name, start, end, late[start]))
    return found


def _published(
    connection: psycopg.Connection[DictRow], definition: Definition, starts: list[datetime]
) -> dict[datetime, DictRow]:
    query = sql.render("postgres/exports/published.sql")
    rows = connection.execute(query, {"name": definition.name, "starts": starts})
    return {row["window_start"].astimezone(UTC): row for row in rows}


def _row_counts(
    settings: Settings, client: Client, definition: Definition, start: datetime, end: datetime
) -> dict[datetime, int]:
    """Return how many rows each window of the source holds, in one scan of the time column."""
    counts = client.query(
        sql.render(
            "clickhouse/exports/count_windows.sql",
            relation=definition.qualified_relation(settings),
            time_column=definition.time_column,
            seconds=int(definition.window.total_seconds()),
        ),
        parameters={"start": start, "end": end},
    ).result_rows
    return {window.replace(tzinfo=UTC): count for window, count in counts}


def _late(
    settings: Settings,
    client: Client,
    definition: Definition,
    known: dict[datetime, DictRow],
    now: dict[datetime, int],
) -> dict[datetime, str]:
    """Return the published windows whose source changed since, with the cause.

    Row counts are compared; a rebuilt day counts as changed whatever its count.
    """
    if not known:
        return {}
    late = {
        start: f"{now.get(start, 0) - row['row_count']:+,} rows since"
        for start, row in known.items()
        if now.get(start, 0) != row["row_count"]
    }
    if definition.gate:
        days = client.query(
            sql.render(
                "clickhouse/exports/rebuilt_days.sql", database=clickhouse.database(settings)
            ),
            parameters={"start": min(known), "end": max(known) + definition.window},
        ).result_rows
        for day, rebuilt_at in days:
            for start, row in known.items():
                if start.date() == day and row["started_at"] < rebuilt_at.replace(tzinfo=UTC):
                    late.setdefault(start, f"{day} was rebuilt at {rebuilt_at:%F %T} UTC")
    return late
