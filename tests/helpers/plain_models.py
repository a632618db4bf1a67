"""What the dbt models should hold, computed from plain lists of events."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID


@dataclass(frozen=True)
class Event:
    """The columns of ``events`` that models look at."""

    event_id: UUID
    event_time: datetime
    event_type: str
    user_id: int
    page: str
    country: str
    device: str
    batch_id: int = field(compare=False, default=0)
    ingested_at: datetime = field(compare=False, default=datetime.min)


def floor(moment: datetime, window: timedelta) -> datetime:
    """Return the start of the window that ``moment`` is in."""
    since_midnight = moment - datetime.combine(moment.date(), datetime.min.time(), moment.tzinfo)
    return moment - since_midnight % window


def per_window(events: Iterable[Event], window: timedelta) -> Counter[tuple[object, ...]]:
    """Count events by window, type, country and device."""
    return Counter((floor(e.event_time, window), e.event_type, e.country, e.device) for e in events)


def page_views(events: Iterable[Event], window: timedelta) -> Counter[tuple[object, ...]]:
    """Count page views by window, page, country and device."""
    return Counter(
        (floor(e.event_time, window), e.page, e.country, e.device)
        for e in events
        if e.event_type == "page_view"
    )


def unique_users(events: Iterable[Event], window: timedelta) -> dict[tuple[object, ...], int]:
    """Count the users of each window, country and device."""
    users: dict[tuple[object, ...], set[int]] = defaultdict(set)
    for e in events:
        users[floor(e.event_time, window), e.country, e.device].add(e.user_id)
    return {key: len(found) for key, found in users.items()}


def activity(events: Iterable[Event]) -> dict[tuple[int, datetime], tuple[int, tuple[str, ...]]]:
    """Return events and sorted event types by user and minute."""
    found: dict[tuple[int, datetime], list[str]] = defaultdict(list)
    for e in events:
        found[e.user_id, floor(e.event_time, timedelta(minutes=1))].append(e.event_type)
    return {key: (len(types), tuple(sorted(set(types)))) for key, types in found.items()}


def active_users(events: Iterable[Event]) -> dict[date, int]:
    """Count the users of each day."""
    users: dict[date, set[int]] = defaultdict(set)
    for e in events:
        users[e.event_time.date()].add(e.user_id)
    return {day: len(found) for day, found in users.items()}


def in_order(event: Event) -> tuple[datetime, int, int]:
    """Return what events are ordered by; ClickHouse compares a UUID's second half first."""
    return event.event_time, event.event_id.int % 2**64, event.event_id.int >> 64


def sessions(events: Iterable[Event], gap: timedelta) -> set[tuple[object, ...]]:
    """Return sessions as (user, start, end, events, page views, entry, exit, country, device)."""
    by_user: dict[int, list[Event]] = defaultdict(list)
    for e in events:
        by_user[e.user_id].append(e)
    found = set()
    for user_id, mine in by_user.items():
        mine.sort(key=in_order)
        start = 0
        for index in range(1, len(mine) + 1):
            ends = index == len(mine)
            if ends or mine[index].event_time - mine[index - 1].event_time > gap:
                run = mine[start:index]
                pages = [e.page for e in run if e.page] or [""]
                views = sum(e.event_type == "page_view" for e in run)
                found.add(
                    (user_id, run[0].event_time, run[-1].event_time, len(run), views,
                     pages[0], pages[-1], run[0].country, run[0].device)
                )  # fmt: skip
                start = index
    return found


def visitors(
    events: Iterable[Event], gap: timedelta, window: timedelta
) -> Counter[tuple[datetime, str, str, str]]:
    """Count the users who began a session, by window, country, device and entry page."""
    users = {
        (floor(started_at, window), country, device, entry_page, user)
        for user, started_at, _end, _events, _views, entry_page, _exit, country, device in sessions(
            events, gap
        )
    }
    return Counter(key[:4] for key in users)  # type: ignore[misc]


def funnel(events: Iterable[Event], steps: list[str]) -> Counter[tuple[date, int, str, str]]:
    """Count users by day, step reached, and where they were at the day's first event of a step."""
    by_user: dict[tuple[date, int], list[Event]] = defaultdict(list)
    for e in events:
        by_user[e.event_time.date(), e.user_id].append(e)
    reached: Counter[tuple[date, int, str, str]] = Counter()
    for (day, _user), mine in by_user.items():
        first = min((e for e in mine if e.event_type in steps), key=in_order, default=mine[0])
        depth, after = 0, datetime.min.replace(tzinfo=mine[0].event_time.tzinfo)
        for step in steps:
            times = [e.event_time for e in mine if e.event_type == step and e.event_time >= after]
            if not times:
                break
            depth, after = depth + 1, min(times)
        for step_number in range(1, depth + 1):
            reached[day, step_number, first.country, first.device] += 1
    return reached


def active_users_weekly(events: Iterable[Event]) -> dict[date, tuple[int, int]]:
    """Count the users of each week (Monday to Sunday), each once, and the events."""
    users: dict[date, list[int]] = defaultdict(list)
    for e in events:
        users[monday(e.event_time.date())].append(e.user_id)
    return {week: (len(set(found)), len(found)) for week, found in users.items()}


def retention(events: Iterable[Event]) -> Counter[tuple[date, int]]:
    """Count users by the week they first came, and by weeks since in which they came."""
    weeks: dict[int, set[date]] = defaultdict(set)
    for e in events:
        weeks[e.user_id].add(monday(e.event_time.date()))
    return Counter(
        (min(mine), (week - min(mine)).days // 7) for mine in weeks.values() for week in mine
    )


def daily_retention(events: Iterable[Event]) -> Counter[tuple[date, int]]:
    """Count users by the day they first came, and by days since on which they came."""
    days: dict[int, set[date]] = defaultdict(set)
    for e in events:
        days[e.user_id].add(e.event_time.date())
    return Counter((min(mine), (day - min(mine)).days) for mine in days.values() for day in mine)


def placed_retention(events: Iterable[Event]) -> Counter[tuple[date, int, str, str]]:
    """Count as ``daily_retention`` does, by country and device of users' first events, too."""
    days: dict[int, set[date]] = defaultdict(set)
    first: dict[int, Event] = {}
    for e in sorted(events, key=in_order):
        first.setdefault(e.user_id, e)
        days[e.user_id].add(e.event_time.date())
    return Counter(
        (min(mine), (day - min(mine)).days, first[user].country, first[user].device)
        for user, mine in days.items()
        for day in mine
    )


def monday(day: date) -> date:
    """Return the Monday of a day's week."""
    return day - timedelta(days=day.weekday())


def types_by_place(events: Iterable[Event]) -> dict[tuple[str, str], list[str]]:
    """Return the event types seen, by country and device."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for e in events:
        found[e.country, e.device].append(e.event_type)
    return found
