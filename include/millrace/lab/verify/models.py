"""Hold sessions and activity against a plain recomputation from events.

They are built now and then, up to a watermark; so users who had no event since are compared. Of a
large warehouse it is a sample of whole users, another part of them each day.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import yaml

from millrace import waiting
from millrace.lab.verify.report import Check, Difference
from millrace.lab.verify.warehouse import Warehouse
from millrace.settings import REPOSITORY, Settings

SESSIONS = "sessions equal their events"
ACTIVITY = "activity equals its events"
EVENTS = 200_000
"""About so many events are read."""

POLL_SECONDS = 2.0
DAY_MS = 86_400_000
Row = tuple[Any, ...]


def check(warehouse: Warehouse, settings: Settings, until: float) -> list[Check]:
    """Compare; a difference must last until ``until`` (``time.monotonic()``), as builds go on."""
    names = (SESSIONS, ACTIVITY)
    if warehouse.target != "events":
        reason = f"the models are made from events, not {warehouse.target}"
        return [Check(name, skipped=reason) for name in names]
    if not all(
        warehouse.client.query(f"EXISTS analytics.{name}").result_rows[0][0]
        for name in ("int_session_versions", "int_user_activity_versions")
    ):
        return [Check(name, skipped="dbt has not built them yet") for name in names]
    checks: list[Check] = []

    def agrees() -> bool:
        checks[:] = _compare(warehouse, settings)
        return not any(one.differences or one.skipped for one in checks)

    waiting.poll(agrees, seconds=until - time.monotonic(), every=POLL_SECONDS)
    return checks


def _compare(warehouse: Warehouse, settings: Settings) -> list[Check]:
    ((built, is_swapped, total),) = warehouse.rows("models_state")
    if is_swapped:
        reason = "days of events were swapped since they were built; build_models follows"
        return [Check(name, skipped=reason) for name in (SESSIONS, ACTIVITY)]
    one_in = max(1, -(-total // EVENTS))
    now = int(time.time() * 1000)
    # what is about to expire may be gone on one side
    since = now - (settings.events_retention_days - 2) * DAY_MS
    bound = {
        "built": built,
        "one_in": one_in,
        "share": now // DAY_MS % one_in,
        "since": since,
    }
    events = warehouse.rows("events_of_users", **bound)
    found_sessions = {tuple(row) for row in warehouse.rows("sessions_of_users", **bound)}
    found_activity = {
        tuple(row[:3]): sorted(row[3]) for row in warehouse.rows("activity_of_users", **bound)
    }
    by_user: dict[int, list[Row]] = defaultdict(list)
    for user_id, *event in events:
        by_user[user_id].append(tuple(event))
    compared = f"{len(by_user):,} users with {len(events):,} events" + (
        f", one user in {one_in}" if one_in > 1 else ""
    )
    gap = session_gap_ms(settings)
    expected = {
        one
        for user, rows in by_user.items()
        for one in sessions(user, rows, gap)
        if one[1] >= since
    }
    wrong = sorted(expected ^ found_sessions, key=lambda one: (one[:2], one in found_sessions))
    return [
        Check(
            SESSIONS,
            compared,
            [
                Difference(
                    f"user {one[0]} at {_moment(one[1])}",
                    one[2:] if one in expected else "no such session",
                    one[2:] if one in found_sessions else "no such session",
                )
                for one in wrong
            ],
        ),
        _activity(compared, by_user, found_activity, since),
    ]


def _activity(
    compared: str,
    by_user: Mapping[int, list[Row]],
    found: Mapping[Row, list[str]],
    since: int,
) -> Check:
    minutes: dict[tuple[int, int], list[str]] = defaultdict(list)
    for user, rows in by_user.items():
        for event_time, _event_id, event_type, *_ in rows:
            minutes[user, event_time // 60_000 * 60_000].append(event_type)
    expected = {
        (user, minute, len(types)): sorted(set(types))
        for (user, minute), types in minutes.items()
        if minute >= since
    }
    wrong = [
        Difference(
            f"user {key[0]} in the minute {_moment(key[1])}",
            (key[2], expected[key]) if key in expected else "nothing",
            (key[2], found[key]) if key in found else "nothing",
        )
        for key in sorted(expected.keys() | found.keys())
        if expected.get(key) != found.get(key)
    ]
    return Check(ACTIVITY, compared, wrong)


def sessions(user_id: int, events: Iterable[Row], gap_ms: int) -> list[Row]:
    """Return a user's sessions, in order.

    Of events (time in ms, event_id, type, page, country, device) come (user, start, end, events,
    page views, entry page, exit page, country, device).
    """
    # ClickHouse orders a UUID by its second half first
    ordered = sorted(events, key=lambda e: (e[0], e[1].int % 2**64, e[1].int >> 64))
    found: list[Row] = []
    start = 0
    for index in range(1, len(ordered) + 1):
        if index < len(ordered) and ordered[index][0] - ordered[index - 1][0] <= gap_ms:
            continue
        run = ordered[start:index]
        start = index
        pages = [e[3] for e in run if e[3]] or [""]
        views = sum(e[2] == "page_view" for e in run)
        found.append(
            (user_id, run[0][0], run[-1][0], len(run), views, pages[0], pages[-1], *run[0][4:6])
        )
    return found


def session_gap_ms(settings: Settings) -> int:
    """Return the pause that ends a session, as the deployed project has it, in milliseconds."""
    deployed = settings.home / "dbt" / "deployed" / "dbt_project.yml"
    path = deployed if deployed.exists() else REPOSITORY / "dbt" / "dbt_project.yml"
    return int(yaml.safe_load(path.read_text())["vars"]["session_gap_seconds"]) * 1000


def _moment(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
