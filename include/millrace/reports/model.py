"""What a report is: questions, a schedule, and who gets it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
MOST_PANELS = 20

Every = Literal["day", "week", "month"]


class ReportError(ValueError):
    """A report can't be had as it is described; the message says why and what would do."""


@dataclass(frozen=True)
class Panel:
    """A question of a report.

    Args:
        title: What stands above its numbers.
        question: Parameters of ``GET /v1/metrics``.
        saved: In place of ``question``, the id of a saved object whose questions are asked.
        problem: Why a saved object can't be asked.
    """

    title: str
    question: Mapping[str, str]
    saved: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Recipient:
    """Who gets a report: through a route of alerts, by its connection.

    ``config`` stands in for members of the route's: ``to`` of e-mail, ``channel`` of Slack, the
    ``path`` of a webhook.
    """

    route: str
    config: Mapping[str, str]


@dataclass(frozen=True)
class Schedule:
    """When a report is made.

    Args:
        every: How often.
        at: Time of day in the zone. One that a clock skips is an hour later.
        zone: Name of a time zone (IANA).
        day: Day of the week (1: Monday) or of the month (where it has less days: its last).
    """

    every: Every
    at: time
    zone: str
    day: int = 1

    def last_due(self, now: datetime) -> datetime:
        """Return the newest moment, not after ``now``, at which a report is due."""
        local = now.astimezone(ZoneInfo(self.zone)).date()
        candidates = [self._moment(local - timedelta(days=back)) for back in range(63)]
        return max(moment for moment in candidates if moment is not None and moment <= now)

    def _moment(self, day: date) -> datetime | None:
        """Return when a report is due on a day of the zone, if it is."""
        is_due = {
            "day": True,
            "week": day.isoweekday() == self.day,
            "month": day.day == self.day
            or (day.day < self.day and (day + timedelta(days=1)).month != day.month),
        }[self.every]
        if not is_due:
            return None
        return datetime.combine(day, self.at, ZoneInfo(self.zone)).astimezone(UTC)


@dataclass(frozen=True)
class Report:
    """A report, as the table ``reports`` has it."""

    name: str
    title: str
    owner: str
    panels: tuple[Panel, ...]
    description: str = ""
    schedule: Schedule | None = None
    recipients: tuple[Recipient, ...] = ()
    is_active: bool = True


def read_schedule(document: Mapping[str, Any]) -> Schedule:
    """Read a schedule: ``every``, ``at`` (``07:00``), ``zone``, ``day``. Raises ``ReportError``."""
    every, zone, day = document.get("every"), document.get("zone", "UTC"), document.get("day", 1)
    most = {"day": 1, "week": 7, "month": 31}
    if every not in most:
        raise ReportError(f"schedule.every: {every!r} is none of {', '.join(most)}")
    if not isinstance(day, int) or not 1 <= day <= most[every]:
        raise ReportError(f"schedule.day: {day!r} is not from 1 to {most[every]}")
    try:
        at = time.fromisoformat(str(document.get("at", "07:00")))
    except ValueError:
        raise ReportError(f"schedule.at: {document['at']!r} is no time such as 07:00") from None
    if at.tzinfo is not None:
        raise ReportError("schedule.at: the zone is told in schedule.zone")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise ReportError(f"schedule.zone: {zone!r} is no time zone of IANA's") from None
    return Schedule(every, at, zone, day)


def read(document: Mapping[str, Any]) -> Report:
    """Read a report from a row or a request. Raises ``ReportError``."""
    name, panels = str(document["name"]), document["panels"]
    if not NAME.fullmatch(name):
        raise ReportError(f"name: {name!r} must be lower-case letters, digits, '_' and '-'")
    if not 1 <= len(panels) <= MOST_PANELS:
        raise ReportError(f"panels: a report has 1 to {MOST_PANELS}")
    for number, panel in enumerate(panels):
        if bool(panel.get("saved")) == bool((panel.get("question") or {}).get("name")):
            raise ReportError(
                f"panels/{number}: say question, which names a metric, or saved, and not both"
            )
    schedule = document.get("schedule")
    return Report(
        name=name,
        title=document["title"],
        owner=document["owner"],
        panels=tuple(
            Panel(panel["title"], panel.get("question") or {}, panel.get("saved") or "")
            for panel in panels
        ),
        description=document.get("description", ""),
        schedule=read_schedule(schedule) if schedule else None,
        recipients=tuple(
            Recipient(one["route"], one.get("config") or {})
            for one in document.get("recipients", ())
        ),
        is_active=document.get("is_active", True),
    )
