"""Which windows wait for an audit: the closed ones that had none, and those that changed since."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from psycopg.rows import DictRow

from millrace.contract import ledger
from millrace.quality import cursors
from millrace.quality.suites import Suite
from millrace.quality.windows import KINDS, Window, closed_windows, window_at
from millrace.settings import Settings
from millrace.stores import clickhouse, sql
from millrace.stores.errors import first_line

log = logging.getLogger(__name__)

OLD_KIND = "1d"
"""The kind of window in which days beyond every lookback are audited, such as imported history."""
OLD_AT_ONCE = 20
"""Windows beyond the lookback that one run audits, newest first; the next one goes on."""
RETRY_AFTER = timedelta(minutes=30)
RETRY_FOR = timedelta(hours=26)
"""When and how long a window is audited again of which something could not be checked."""
ARRIVAL_COLUMNS = {"ingested_at", "rejected_at"}
"""Columns that say when a row came: nothing comes late to a window of these."""


@dataclass(frozen=True)
class Pending:
    """What waits, in the order of auditing, and up to when late events are covered by it.

    ``is_all`` tells whether changes were looked for, and nothing is left for the next run.
    """

    kind: str
    pairs: list[tuple[Suite, Window]]
    covers_until: datetime
    is_all: bool = False


def tables(settings: Settings, client: Client) -> set[str]:
    """Return the tables and views that are there, as suites name them."""
    rows = client.query("SELECT database, name FROM system.tables").result_rows
    names = {f"{database}.{name}" for database, name in rows}
    return names | {name for database, name in rows if database == clickhouse.database(settings)}


def existing(settings: Settings, client: Client, suites: list[Suite]) -> list[Suite]:
    """Return the suites whose tables are there: a mart is not, until dbt has first built it."""
    names = tables(settings, client)
    found = [suite for suite in suites if suite.is_derived or suite.table in names]
    if missing := [suite.table for suite in suites if suite not in found]:
        log.warning("not audited, for they are not there: %s", ", ".join(missing))
    return found


def any_judged(client: Client, before: datetime) -> bool:
    """Tell whether any message was judged before a moment."""
    query = sql.render("clickhouse/quality/is_any_judged.sql")
    ((found,),) = client.query(query, parameters={"before": before}).result_rows
    return bool(found)


def order(suite: Suite) -> bool:
    """Return a key that sorts suites: what others are made from comes first."""
    return bool(suite.made_from)


def find(
    client: Client,
    connection: psycopg.Connection[DictRow],
    suites: list[Suite],
    kind: str,
    now: datetime,
) -> Pending:
    """Return what waits of a kind of window.

    A closed window of the lookback is audited once it is closed, and again when late events or a
    rebuild changed it. Older windows are audited when events came to them or their day was rebuilt,
    by the day; shorter ones only while they are withheld. Late events are looked for whenever a
    window of the kind has closed. What could not be checked, since a server was away or had no
    memory left, is tried again. The newest window comes first.
    """
    windows = closed_windows(kind, now)
    suites = [suite for suite in suites if kind in suite.windows]
    until = ledger.watermark(connection)
    rows = client.query(
        sql.render("clickhouse/quality/audited_windows.sql"),
        parameters={"kind": kind, "since": windows[0].start},
    ).result_rows
    audited = set(rows)
    is_fed = any_judged(client, windows[-1].end)
    pairs = []
    for suite in suites:
        fresh = [w for w in windows if (suite.dataset, int(w.start.timestamp())) not in audited]
        if suite.time_column in ARRIVAL_COLUMNS:
            fresh = [w for w in fresh if w.end <= until]
        pairs += [(suite, w) for w in _with_data(client, suite, fresh, windows[-1], is_fed)]
    again = _unchecked(client, suites, kind, now)
    if not pairs and not _was_cut(client, kind):
        return Pending(kind, _sorted(again), until)
    pairs += again
    known = {(suite.dataset, window) for suite, window in pairs}
    changed = _changed(client, connection, kind, windows, until)
    old = [window for window in changed if window < windows[0]]
    left = set(old[:-OLD_AT_ONCE])
    pairs += [
        (suite, window)
        for window in changed
        for suite in suites
        if (suite.dataset == "events" or "events" in suite.made_from)
        and (suite.dataset, window) not in known
        and window not in left
    ]
    return Pending(kind, _sorted(pairs), until, is_all=not left)


def _sorted(pairs: list[tuple[Suite, Window]]) -> list[tuple[Suite, Window]]:
    return sorted(pairs, key=lambda pair: (-pair[1].start.timestamp(), order(pair[0])))


def _unchecked(
    client: Client, suites: list[Suite], kind: str, now: datetime
) -> list[tuple[Suite, Window]]:
    """Return what was audited some time ago and could not be checked then."""
    rows = client.query(
        sql.render("clickhouse/quality/unchecked_windows.sql"),
        parameters={
            "kind": kind,
            "since": now - max(RETRY_FOR, KINDS[kind].lookback),
            "before": now - RETRY_AFTER,
            "most": OLD_AT_ONCE,
        },
    ).result_rows
    by_name = {suite.dataset: suite for suite in suites}
    return [
        (by_name[dataset], window_at(kind, datetime.fromtimestamp(start, UTC)))
        for dataset, start in rows
        if dataset in by_name
    ]


def _was_cut(client: Client, kind: str) -> bool:
    """Tell whether the last run left something: its audits cover more than the cursor says."""
    condition = f"window_kind = '{kind}'"
    since = cursors.read(client, kind, "quality_audits", condition)
    ((newest,),) = client.query(
        "SELECT max(covers_until) FROM quality_audits WHERE window_kind = {kind:String}",
        parameters={"kind": kind},
    ).result_rows
    return since is not None and since < newest.replace(tzinfo=UTC)


def _with_data(
    client: Client, suite: Suite, fresh: list[Window], last: Window, is_fed: bool
) -> list[Window]:
    """Return the windows that hold rows, and the last one in any case: silence is a finding.

    But not before the first message was judged (``is_fed``): a new stack's past is no silence.
    """
    is_due = is_fed or not suite.time_column
    earlier = [window for window in fresh if window != last or not is_due]
    found: set[int] = set()
    if earlier and suite.time_column:
        try:
            rows = client.query(
                sql.render(
                    "clickhouse/quality/windows_with_data.sql",
                    relation=suite.relation_in(str(client.database)),
                    time_column=suite.time_column,
                ),
                parameters={
                    "start": earlier[0].start,
                    "end": earlier[-1].end,
                    "seconds": int(KINDS[last.kind].length.total_seconds()),
                },
            ).result_rows
        except OperationalError:
            raise  # the server is away
        except DatabaseError as error:
            # Its last window fails and says so; the others wait until it is mended.
            log.warning("windows of %s can't be told: %s", suite.dataset, first_line(error))
            rows, is_due = [], True
        found = {int(row[0]) for row in rows}
    return [w for w in fresh if (is_due and w == last) or int(w.start.timestamp()) in found]


def _changed(
    client: Client,
    connection: psycopg.Connection[DictRow],
    kind: str,
    windows: list[Window],
    until: datetime,
) -> list[Window]:
    """Return the windows that were audited before late events or a rebuild changed them."""
    condition = f"window_kind = '{kind}'"
    since = cursors.read(client, kind, "quality_audits", condition)
    if since is None:
        return []
    rows = client.query(
        sql.render("clickhouse/quality/touched_windows.sql"),
        parameters={
            "seconds": int(KINDS[kind].length.total_seconds()),
            "since": since,
            "until": until,
        },
    ).result_rows
    covered: dict[int, datetime] = {}
    if rows:
        query = sql.render("clickhouse/quality/covered_windows.sql")
        bounds = {"kind": kind, "since": datetime.fromtimestamp(min(row[0] for row in rows), UTC)}
        covered = {row[0]: row[1] for row in client.query(query, parameters=bounds).result_rows}
    touched = [
        window_at(kind, datetime.fromtimestamp(start, UTC))
        for start, changed_at in rows
        if start not in covered or changed_at >= covered[start]
    ]
    withheld = {
        (row["window_start"].astimezone(UTC), row["window_end"].astimezone(UTC))
        for row in connection.execute(sql.render("postgres/quality/withheld_windows.sql"))
    }
    return sorted(
        window
        for window in touched
        if window <= windows[-1]
        and (window >= windows[0] or kind == OLD_KIND or (window.start, window.end) in withheld)
    )
