"""Ranges of time and the buckets that they are cut into, by the clock of a time zone.

A day is a day of the zone: 23 or 25 hours long when its clock is changed. Buckets of hours and
minutes begin when the zone's clock shows a whole hour (5 minutes, …), so the hour that comes twice
is two buckets, and half an hour that is put in or left out belongs to the hour around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from millrace.api.http import ProblemError

SECONDS = {"1min": 60, "5min": 300, "15min": 900, "1h": 3600}
"""Intervals that are less than a day."""
INTERVALS = (*SECONDS, "1d", "1w", "1mo")
MOST_BUCKETS = 10_000
FEW_BUCKETS = 500
"""So many of a range are kept: the panels of a dashboard ask the same ranges again and again."""

UNITS = {"min": "1min", "h": "1h", "d": "1d", "w": "1d", "mo": "1d", "y": "1d"}
"""What a range of a unit is aligned to where no interval is asked for."""
NAMED = ("today", "yesterday", "this_week", "last_week", "this_month", "last_month", "this_year")
EXAMPLES = "24h, 7d, 4w, 12mo, today, last_week, 2026-11-01/2026-11-07, 2026-11-01T06:00Z/PT2H"

_AUTOMATIC = ((2, "1min"), (12, "5min"), (36, "15min"), (24 * 14, "1h"), (24 * 200, "1d"))
"""The interval of a range of at most so many hours, for who asks for ``auto``."""
_FIRST, _LAST = datetime(1970, 1, 2, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_LENGTH = re.compile(r"(\d{1,5})(min|h|d|w|mo|y)")
_DURATION = re.compile(
    r"P(?!$)(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,4})D)?"
    r"(?:T(?!$)(?:(\d{1,5})H)?(?:(\d{1,6})M)?)?"
)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A stretch of time that a value is of, in UTC; its end is not in it."""

    start: datetime
    end: datetime


def invalid(parameter: str, detail: str, **extra: object) -> ProblemError:
    """Return the problem with a parameter that can't be read."""
    return ProblemError(
        400, "invalid_parameter", f"{parameter}: {detail}", extra={"parameter": parameter, **extra}
    )


def read_zone(name: str) -> str:
    """Return the name of a time zone. Raises ``ProblemError`` (400) if it is none."""
    if name not in _zones():
        near = sorted(zone for zone in _zones() if name.lower() in zone.lower())[:20]
        raise invalid("tz", "no IANA time zone, such as Europe/Berlin or UTC.", zones=near)
    return name


def read_interval(text: str, start: datetime, end: datetime) -> str:
    """Return an interval; ``auto`` is one that gives tens to hundreds of buckets."""
    if text == "auto":
        hours = (end - start) / timedelta(hours=1)
        return next((name for most, name in _AUTOMATIC if hours <= most), "1mo")
    if text not in ("", *INTERVALS):
        raise invalid("interval", f"one of {', '.join(INTERVALS)}, auto.", intervals=INTERVALS)
    return text


def read_range(text: str, interval: str, zone: str, now: datetime) -> tuple[datetime, datetime]:
    """Return start and end, in UTC, of a range that is relative to ``now`` or an ISO 8601 interval.

    It is aligned outwards to the interval, or to its own unit where there is none: ``7d`` are this
    day and the six before it, ``24h`` this hour and the 23 before. Where an ISO interval ends with
    a date, the date is in it. Raises ``ProblemError`` (400).
    """
    cut = interval if interval in INTERVALS else ""
    if found := _LENGTH.fullmatch(text):
        count, unit = int(found[1]), found[2]
        end = ceil(now + timedelta(microseconds=1), cut or UNITS[unit], zone)
        # floored, since 7 days before the end of a week of weeks is no start of one
        start = floor(_before(end, count, unit, zone), cut or UNITS[unit], zone)
    elif text in NAMED:
        start, end = _named(text, zone, now)
        cut = cut or "1d"
    else:
        start, end = _iso(text, zone)
        cut = cut or "1min"
    if not _FIRST <= start < end <= _LAST:
        raise invalid("range", "it ends before it begins, or lies before 1970 or after 2100.")
    return (start, end) if not cut else (floor(start, cut, zone), ceil(end, cut, zone))


def buckets(start: datetime, end: datetime, interval: str, zone: str) -> tuple[Bucket, ...]:
    """Return the buckets of a range, in order; the last is cut where the range ends.

    Raises ``ProblemError`` (400) if there are more than ``MOST_BUCKETS``.
    """
    if not interval:
        return (Bucket(start, end),)
    if (end - start).total_seconds() <= FEW_BUCKETS * SECONDS.get(interval, 86_400):
        return _kept_buckets(start, end, interval, zone)
    return _buckets(start, end, interval, zone)


@lru_cache(maxsize=256)
def _kept_buckets(start: datetime, end: datetime, interval: str, zone: str) -> tuple[Bucket, ...]:
    return _buckets(start, end, interval, zone)


def _buckets(start: datetime, end: datetime, interval: str, zone: str) -> tuple[Bucket, ...]:
    found = []
    for bound in _bounds(floor(start, interval, zone), interval, zone):
        if bound[1] > start:
            found.append(Bucket(max(bound[0], start), min(bound[1], end)))
        if bound[1] >= end:
            return tuple(found)
        if len(found) >= MOST_BUCKETS:
            break
    raise invalid(
        "interval", f"more than {MOST_BUCKETS} buckets: ask for a longer one, or a shorter range."
    )


def floor(moment: datetime, interval: str, zone: str) -> datetime:
    """Return when the bucket that holds a moment begins."""
    if interval in SECONDS:
        seconds = _floor_seconds(int(moment.timestamp()), SECONDS[interval], zone)
        return datetime.fromtimestamp(seconds, UTC)
    day = moment.astimezone(ZoneInfo(zone)).date()
    if interval == "1w":
        day -= timedelta(days=day.weekday())
    elif interval == "1mo":
        day = day.replace(day=1)
    return midnight(day, zone)


def ceil(moment: datetime, interval: str, zone: str) -> datetime:
    """Return the first start of a bucket that is not before a moment."""
    start = floor(moment, interval, zone)
    return start if start == moment else next(_bounds(start, interval, zone))[1]


def midnight(day: date, zone: str) -> datetime:
    """Return when a day of a zone begins, in UTC, also where its clock never shows midnight."""
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)


def shifted(moment: datetime, zone: str, *, days: int = 0, months: int = 0) -> datetime:
    """Return the moment so many days or months away when the zone's clock shows the same time."""
    local = moment.astimezone(ZoneInfo(zone))
    day = local.date() + timedelta(days=days)
    if months:
        year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
        last = (date(year + month // 11, (month + 1) % 12 + 1, 1) - timedelta(days=1)).day
        day = date(year, month + 1, min(day.day, last))
    there = datetime.combine(day, local.time(), ZoneInfo(zone)).replace(fold=local.fold)
    return there.astimezone(UTC)


def earlier(
    start: datetime, end: datetime, compare: str, zone: str, moments: tuple[datetime, ...]
) -> tuple[datetime, ...]:
    """Return the moments of the period that ``[start, end)`` is compared with.

    ``compare`` is ``previous`` (the period before it, of the same number of months, days or
    seconds), or how long before: ``1d``, ``1w``, ``1mo``, ``1y``.
    """
    if compare != "previous":
        found = _LENGTH.fullmatch(compare)
        assert found is not None  # noqa: S101  a question holds none that was not read
        return tuple(_before(one, int(found[1]), found[2], zone) for one in moments)
    first, last = (one.astimezone(ZoneInfo(zone)) for one in (start, end))
    if start != floor(start, "1d", zone) or end != floor(end, "1d", zone):
        return tuple(one - (end - start) for one in moments)
    if first.day == last.day == 1:
        months = (last.year - first.year) * 12 + last.month - first.month
        return tuple(shifted(one, zone, months=-months) for one in moments)
    days = (last.date() - first.date()).days
    return tuple(shifted(one, zone, days=-days) for one in moments)


def read_compare(text: str) -> str:
    """Return with what a range is compared. Raises ``ProblemError`` (400)."""
    if text in ("", "previous"):
        return text
    found = _LENGTH.fullmatch(text)
    if not found or int(found[1]) == 0:
        raise invalid("compare", "previous, or how long before, such as 1d, 1w, 1y.")
    return f"{int(found[1])}{found[2]}"


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _bounds(start: datetime, interval: str, zone: str) -> Iterator[tuple[datetime, datetime]]:
    """Yield starts and ends of buckets from ``start``, itself a start."""
    if interval in SECONDS and zone == "UTC":
        length = timedelta(seconds=SECONDS[interval])
        while True:  # no clock is ever put there
            yield start, start + length
            start += length
    while True:
        if interval in SECONDS:
            step, first = SECONDS[interval], int(start.timestamp())
            after = first
            candidate = first
            while after == first:
                candidate += step
                after = _floor_seconds(candidate, step, zone)
            end = datetime.fromtimestamp(after, UTC)
        else:
            end, days = start, 1 if interval == "1d" else 7
            day = start.astimezone(ZoneInfo(zone)).date()
            while end == start:  # a zone may leave out a whole day
                if interval == "1mo":
                    day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                else:
                    day += timedelta(days=days)
                end = midnight(day, zone)
        yield start, end
        start = end


def _floor_seconds(moment: int, step: int, zone: str) -> int:
    offset = _offset(moment, zone)
    found = (moment + offset) // step * step - offset
    if _offset(found, zone) == offset:
        return found
    low, high = found, moment  # the clock was put in between: find when
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(middle, zone) == offset else (middle, high)
    before = _offset(low, zone)
    return (low + before) // step * step - before


def _offset(moment: int, zone: str) -> int:
    offset = datetime.fromtimestamp(moment, ZoneInfo(zone)).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def _before(moment: datetime, count: int, unit: str, zone: str) -> datetime:
    try:
        if unit in ("min", "h"):
            return moment - timedelta(minutes=count * (60 if unit == "h" else 1))
        if unit in ("d", "w"):
            return shifted(moment, zone, days=-count * (7 if unit == "w" else 1))
        return shifted(moment, zone, months=-count * (12 if unit == "y" else 1))
    except (OverflowError, ValueError):
        raise invalid("range", f"{count}{unit} are too long.") from None


def _named(text: str, zone: str, now: datetime) -> tuple[datetime, datetime]:
    today = now.astimezone(ZoneInfo(zone)).date()
    monday, first = today - timedelta(days=today.weekday()), today.replace(day=1)
    next_month = (first + timedelta(days=32)).replace(day=1)
    start, end = {
        "today": (today, today + timedelta(days=1)),
        "yesterday": (today - timedelta(days=1), today),
        "this_week": (monday, monday + timedelta(days=7)),
        "last_week": (monday - timedelta(days=7), monday),
        "this_month": (first, next_month),
        "last_month": ((first - timedelta(days=1)).replace(day=1), first),
        "this_year": (first.replace(month=1), first.replace(year=today.year + 1, month=1)),
    }[text]
    return midnight(start, zone), midnight(end, zone)


def _iso(text: str, zone: str) -> tuple[datetime, datetime]:
    first, separator, last = text.partition("/")
    try:
        if not separator:
            raise ValueError
        if first.startswith("P"):
            end = _moment(last, zone, is_end=True)
            return _moved(end, first, zone, -1), end
        start = _moment(first, zone, is_end=False)
        if last.startswith("P"):
            return start, _moved(start, last, zone, 1)
        return start, _moment(last, zone, is_end=True)
    except (ValueError, OverflowError):
        raise invalid("range", f"it can't be read. Examples: {EXAMPLES}.") from None


def _moment(text: str, zone: str, *, is_end: bool) -> datetime:
    if len(text) == 10:
        day = date.fromisoformat(text)
        return midnight(day + timedelta(days=1) if is_end else day, zone)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def _moved(moment: datetime, duration: str, zone: str, sign: int) -> datetime:
    found = _DURATION.fullmatch(duration)
    if not found:
        raise ValueError(duration)
    years, months, weeks, days, hours, minutes = (int(part or 0) for part in found.groups())
    there = shifted(
        moment, zone, days=sign * (weeks * 7 + days), months=sign * (years * 12 + months)
    )
    return there + sign * timedelta(hours=hours, minutes=minutes)
