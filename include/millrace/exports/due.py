"""Which windows are to be exported now: new ones, and old ones that changed, however old."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from psycopg.rows import DictRow

from millrace.contract import verdicts
from millrace.exports import windows
from millrace.exports.definitions import Definition
from millrace.exports.windows import Window
from millrace.settings import Settings
from millrace.stores import clickhouse, sql
from millrace.stores.errors import first_line

log = logging.getLogger(__name__)

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
    looked at where rows arrived or a day was rebuilt since the last look, where they were due then,
    and where the last run did not publish them; they wait, unlisted, while their gate does not let
    them pass. Of a definition that can't be looked at, such as one whose table is gone, the last
    window is due, so that its export says what is wrong.
    """
    found: list[Window] = []
    for definition in definitions:
        if definition.schedule == "on_demand":
            continue
        search = _Search(settings, connection, client, definition, until, lookback)
        try:
            found += search.due()
        except OperationalError:
            raise  # the server is away, for every definition
        except DatabaseError as error:
            said = f"its windows can't be looked at: {first_line(error)}"
            log.warning("export %s: %s", definition.name, said)
            found.append(Window(definition.name, search.last.start, search.last.end, said))
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
        looks = connection.execute(
            "SELECT looked_at FROM export_looks WHERE name = %s", [definition.name]
        ).fetchone()
        last_look = looks["looked_at"].astimezone(UTC) if looks else None
        self.since = last_look - lookback if last_look else self.earliest
        self.look = min(until.astimezone(UTC), datetime.now(UTC))

    def due(self) -> list[Window]:
        """Return the windows that are due and may pass, and remember all that are due."""
        waiting = self._waiting()
        touched = self._touched(waiting)
        rebuilt = self._rebuilt_days()
        starts = {
            start
            for start in {*self._recent_starts(), *touched, *self._not_out(), *waiting}
            | {
                start
                for day, rebuilt_at in rebuilt.items()
                if rebuilt_at >= self.since
                for start in self._starts_of(day)
            }
            if self.earliest <= start <= self.last.start
        }
        known = self._published(sorted(starts))
        rows = self._row_counts(sorted(starts))
        first = min(known, default=self.last.end)
        found = []
        for start in sorted(starts):
            if start in known:
                changes = rows.get(start, 0), touched.get(start), rebuilt.get(start.date())
                cause = self._change(known[start], *changes)
            else:
                cause = "scheduled" if start in rows or start > first else ""
            if cause:
                found.append(
                    Window(self.definition.name, start, start + self.definition.window, cause)
                )
        self._remember(found)
        return [one for one in found if one.start >= self.recent or self._may_pass(one)]

    def _waiting(self) -> set[datetime]:
        """Return the windows that were due at the last look, exported since or not."""
        rows = self.connection.execute(
            "SELECT window_start FROM export_waiting WHERE name = %s", [self.definition.name]
        )
        return {row["window_start"].astimezone(UTC) for row in rows}

    def _remember(self, found: list[Window]) -> None:
        """Note what is due: whatever keeps a window from being exported, it is not forgotten."""
        self.connection.execute(
            sql.render("postgres/exports/remember_due.sql"),
            {
                "name": self.definition.name,
                "look": self.look,
                "last": self.last.start,
                "starts": [window.start for window in found],
            },
        )

    def _change(
        self, run: DictRow, row_count: int, touched_at: datetime | None, rebuilt_at: datetime | None
    ) -> str:
        """Say what happened to a published window since; empty if nothing did.

        Row counts are compared, and a rebuilt day counts as changed whatever its count; so do
        events that arrived, where nothing says which rows they changed. A table that has forgotten
        rows has nothing to tell that was not exported of it.
        """
        more = row_count - run["row_count"]
        if more < 0 and self.definition.may_lack(self.settings, run["window_start"]):
            return ""
        if more:
            return f"{more:+,} rows since"
        read_at = run["snapshot_at"] or run["started_at"]
        if touched_at and not self.definition.arrival_column and read_at <= touched_at:
            return f"events since, the last at {touched_at:%F %T} UTC"
        if rebuilt_at and self.definition.gate and run["started_at"] < rebuilt_at:
            day = run["window_start"].astimezone(UTC)
            return f"{day:%F} was rebuilt at {rebuilt_at:%F %T} UTC"
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

    def _touched(self, waiting: set[datetime]) -> dict[datetime, datetime]:
        """Return the windows in which rows arrived since the last look, and when the last did."""
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
            has_waiting=bool(waiting) and not arrives,
        )
        bounds = {"start": self.earliest, "end": self.last.end, "since": self.since}
        if waiting and not arrives:
            bounds |= {"first": min(waiting), "behind": max(waiting) + definition.window}
        rows = self.client.query(query, bounds).result_rows
        return {start.replace(tzinfo=UTC): last.replace(tzinfo=UTC) for start, last in rows}

    def _not_out(self) -> set[datetime]:
        """Return the windows whose last run did not publish them."""
        rows = self.connection.execute(
            sql.render("postgres/exports/not_out.sql"),
            {"name": self.definition.name, "earliest": self.earliest},
        )
        return {row["window_start"].astimezone(UTC) for row in rows}

    def _rebuilt_days(self) -> dict[date, datetime]:
        """Return the days that were ever rebuilt, and when that was last."""
        if not self.definition.gate:
            return {}
        name = clickhouse.database(self.settings)
        query = sql.render("clickhouse/exports/rebuilt_days.sql", database=name)
        bounds = {"start": self.earliest, "end": self.last.end}
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
