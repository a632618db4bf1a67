"""Windows of time: which kinds are audited, when they are closed, which still wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True)
class Kind:
    """A kind of window: how long it is, how late it closes, how far back audits catch up."""

    name: str
    length: timedelta
    grace: timedelta
    lookback: timedelta


KINDS = {
    kind.name: kind
    for kind in (
        Kind("5m", timedelta(minutes=5), timedelta(minutes=1), timedelta(hours=1)),
        Kind("1h", timedelta(hours=1), timedelta(minutes=5), timedelta(hours=26)),
        Kind("1d", timedelta(days=1), timedelta(hours=1), timedelta(days=3)),
    )
}
"""Fast checks run by five minutes, deep ones by hour and day."""


@dataclass(frozen=True, order=True)
class Window:
    """A window ``[start, end)`` of a kind, in UTC."""

    start: datetime
    end: datetime
    kind: str

    @property
    def name(self) -> str:
        """A name that sorts by time: ``20260101T1200Z-5m``."""
        return f"{self.start:%Y%m%dT%H%M}Z-{self.kind}"

    @property
    def label(self) -> str:
        """The window as people read it: ``2026-01-01 12:00 to 12:05 UTC``."""
        end = f"{self.end:%H:%M}" if self.end - self.start < timedelta(days=1) else "24:00"
        return f"{self.start:%Y-%m-%d %H:%M} to {end} UTC"


def window_at(kind: str, moment: datetime) -> Window:
    """Return the window of a kind that ``moment`` lies in."""
    seconds = int(KINDS[kind].length.total_seconds())
    start = datetime.fromtimestamp(int(moment.timestamp()) // seconds * seconds, UTC)
    return Window(start, start + KINDS[kind].length, kind)


def closed_windows(kind: str, now: datetime) -> list[Window]:
    """Return the closed windows within the kind's lookback, oldest first."""
    this = KINDS[kind]
    found = []
    window = window_at(kind, now - this.grace - this.length)
    while window.start >= now - this.lookback - this.length:
        found.append(window)
        window = window_at(kind, window.start - timedelta(seconds=1))
    return found[::-1]


def windows_between(kind: str, start: datetime, end: datetime) -> list[Window]:
    """Return the windows of a kind that have a part in ``[start, end)``, oldest first."""
    found = []
    window = window_at(kind, start)
    while window.start < end:
        found.append(window)
        window = window_at(kind, window.end)
    return found
