"""Which windows are to be exported now: new ones, and old ones that changed, however old."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg
from clickhouse_connect.driver.client import Client
from psycopg.rows import DictRow

from millrace.contract import verdicts
from millrace.exports import windows
from millrace.exports.definitions import Definition
from millrace.exports.windows import Window
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

LOOKBACK = timedelta(hours=48)
"""How far back every window is looked at; older ones only where something happened to them."""
AT_ONCE = 200
"""Windows that one run exports; the next one goes on."""


def find(
    settings: Settings,
    connection: psycopg.Connection[DictRow],
    client: Client,
    definitions: Iterable[Definition],
    until: datetime,
    lookback: timedelta = LOOKBACK,
) -> list[Window]:
    """Return the windows to export now, newest first, at most ``AT_ONCE`` of them.

    Those of every scheduled definition that ended by ``until`` and either were never published or
    got rows or a rebuilt day since. A window without rows is due only after the first published
    one: before it there was nothing to tell apart. Windows that are older than ``lookback`` are
    looked at where rows arrived or a day was rebuilt since the last look, and where the last run
    did not publish them; they wait, unlisted, while their gate does not let them pass.
    """
    found: list[Window] = []
    for definition in definitions:
        if definition.schedule != "on_demand":
            found += _Search(settings, connection, client, definition, until, lookback).due()
    return sorted(found, key=lambda window: window.start, reverse=True)[:AT_ONCE]


class _Search:
    """The search for one definition's windows."""

    def __init__(
        self,
        settings: Settings,
        connection: psycopg.Connection[DictRow],
        client: Client,
        definition: Definition,
        until: datetime,
        lookback: timedelta,
    ) -> None:
        self.settings, self.connection, self.client = settings, connection, client
        self.definition = definition
        self.last = windows.align(definition, until)
        self.recent = until - max(lookback, definition.window * 2)
        # Older windows would expire as soon as they are exported.
        self.earliest = until - timedelta(days=definition.retention_days) + definition.window
        query = "SELECT max(started_at) AS moment FROM export_runs WHERE name = %s"
        row = connection.execute(query, [definition.name]).fetchone()
        last_look = row["moment"] if row else None
        self.since = last_look.astimezone(UTC) - lookback if last_look else self.earliest

    def due(self) -> Iterator[Window]:
        """Yield the windows that are due."""
        rebuilt = self._rebuilt_days()
        starts = {
            start
            for start in {*self._recent_starts(), *self._touched(), *self._not_out()}
            | {start for day in rebuilt for start in self._starts_of(day)}
            if self.earliest <= start <= self.last.start
        }
        known = self._published(sorted(starts))
        rows = self._row_counts(sorted(starts))
        first = min(known, default=self.last.end)
        for start in sorted(starts):
            window = Window(self.definition.name, start, start + self.definition.window)
            if start in known:
                cause = self._change(known[start], rows.get(start, 0), rebuilt.get(start.date()))
            else:
                cause = "scheduled" if start in rows or start > first else ""
            if cause and (start >= self.recent or self._may_pass(window)):
                yield Window(window.name, window.start, window.end, cause)

    def _change(self, run: DictRow, row_count: int, rebuilt_at: datetime | None) -> str:
        """Say what happened to a published window since; empty if nothing did.

        Row counts are compared, and a rebuilt day counts as changed whatever its count. A table
        that only grows, and forgets, never has less to tell than what was exported of it.
        """
        more = row_count - run["row_count"]
        if more > 0 or (more and not self.definition.is_archive):
            return f"{more:+,} rows since"
        if rebuilt_at and self.definition.gate and run["started_at"] < rebuilt_at:
            return f"{run['window_start']:%F} was rebuilt at {rebuilt_at:%F %T} UTC"
        return ""

    def _may_pass(self, window: Window) -> bool:
        gate = self.definition.gate
        return (
            not gate
            or verdicts.ask(self.connection, gate, window.start, window.end).status == "published"
        )

    def _recent_starts(self) -> Iterator[datetime]:
        start = self.last.start
        while start >= self.recent:
            yield start
            start -= self.definition.window

    def _starts_of(self, day: date) -> Iterator[datetime]:
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        end = start + timedelta(days=1)
        while start < end:
            yield start
            start += self.definition.window

    def _touched(self) -> set[datetime]:
        """Return the windows in which rows arrived since the last look."""
        definition = self.definition
        arrives = bool(definition.arrival_column)
        # What is made from events changes where events arrive.
        query = sql.render(
            "clickhouse/exports/touched_windows.sql",
            relation=definition.qualified_relation(self.settings)
            if arrives
            else f"{clickhouse.database(self.settings)}.events",
            time_column=definition.time_column if arrives else "event_time",
            arrival_column=definition.arrival_column or "ingested_at",
            seconds=int(definition.window.total_seconds()),
        )
        bounds = {"start": self.earliest, "end": self.last.end, "since": self.since}
        return {row[0].replace(tzinfo=UTC) for row in self.client.query(query, bounds).result_rows}

    def _not_out(self) -> set[datetime]:
        """Return the windows whose last run did not publish them."""
        rows = self.connection.execute(
            sql.render("postgres/exports/not_out.sql"),
            {"name": self.definition.name, "earliest": self.earliest},
        )
        return {row["window_start"].astimezone(UTC) for row in rows}

    def _rebuilt_days(self) -> dict[date, datetime]:
        """Return the days that were rebuilt since the last look, and when that was."""
        if not self.definition.gate:
            return {}
        name = clickhouse.database(self.settings)
        query = sql.render("clickhouse/exports/rebuilt_days.sql", database=name)
        bounds = {"start": self.earliest, "end": self.last.end, "since": self.since}
        rows = self.client.query(query, bounds).result_rows
        return {day: rebuilt_at.replace(tzinfo=UTC) for day, rebuilt_at in rows}

    def _published(self, starts: list[datetime]) -> dict[datetime, DictRow]:
        query = sql.render("postgres/exports/published.sql")
        rows = self.connection.execute(query, {"name": self.definition.name, "starts": starts})
        return {row["window_start"].astimezone(UTC): row for row in rows}

    def _row_counts(self, starts: list[datetime]) -> dict[datetime, int]:
        """Return how many rows each window of the source holds, in one scan of the time column."""
        if not starts:
            return {}
        query = sql.render(
            "clickhouse/exports/count_windows.sql",
            relation=self.definition.qualified_relation(self.settings),
            time_column=self.definition.time_column,
            seconds=int(self.definition.window.total_seconds()),
        )
        bounds = {"start": starts[0], "end": starts[-1] + self.definition.window, "starts": starts}
        counts = self.client.query(query, parameters=bounds).result_rows
        return {window.replace(tzinfo=UTC): count for window, count in counts}
