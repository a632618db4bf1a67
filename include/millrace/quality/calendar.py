"""The history of a dataset as a calendar: a place for every window, also those not audited."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace.quality.windows import KINDS, Window

TITLES = {
    "5m": "Five minutes each, by the hour",
    "1h": "Hours, by the half day",
    "1d": "Days, by the week from Monday",
}
ROWS = {
    "5m": (timedelta(hours=1), 6),
    "1h": (timedelta(hours=12), 5),
    "1d": (timedelta(weeks=1), 3),
}
"""How long a row is and how many there are, by kind of window; the last one holds today."""
MONDAY = datetime(1970, 1, 5, tzinfo=UTC)

STATES = {
    "good": ("✓", "passed"),
    "warn": ("!", "passed, with warnings"),
    "bad": ("✘", "withheld: data is wrong"),
    "unknown": ("?", "withheld: a check could not run"),
    "gap": ("-", "not audited"),
    "ahead": ("", "not over yet"),
}
"""Sign and words of each state that a window can be in."""


@dataclass(frozen=True)
class Place:
    """A window's place in the calendar."""

    window: Window
    state: str
    report: str = ""

    @property
    def name(self) -> str:
        """The window's name within its row: ``:05``, ``13``, ``28``."""
        start = self.window.start
        return {"5m": f":{start:%M}", "1h": f"{start:%H}", "1d": f"{start:%d}"}[self.window.kind]

    @property
    def sign(self) -> str:
        """The sign of the state, which doesn't rely on its colour."""
        return STATES[self.state][0]

    @property
    def words(self) -> str:
        """The window and its state in words."""
        return f"{self.window.label}: {STATES[self.state][1]}"


def state(audit: dict[str, Any]) -> str:
    """Return the state that an audit, a row of ``quality_audits``, left its window in."""
    if audit["failures"] > audit["unchecked"]:
        return "bad"
    if audit["failures"]:
        return "unknown"
    return "warn" if audit["warnings"] else "good"


def rows(
    kind: str, audits: list[dict[str, Any]], now: datetime, kept_for: timedelta
) -> list[tuple[str, list[Place]]]:
    """Return the calendar of one dataset's audits: each row's label and its places, oldest first.

    Reports older than ``kept_for`` are gone, so nothing leads to them.
    """
    found = {audit["window_start"]: audit for audit in audits}
    length, count = ROWS[kind]
    step = KINDS[kind].length
    last = MONDAY + (now - MONDAY) // length * length
    made = []
    for number in range(count - 1, -1, -1):
        start = last - number * length
        places = []
        for index in range(length // step):
            window = Window(start + index * step, start + (index + 1) * step, kind)
            audit = found.get(window.start)
            if audit is not None:
                is_kept = audit["checked_at"] > now - kept_for
                places.append(Place(window, state(audit), audit["report"] if is_kept else ""))
            else:
                places.append(Place(window, "ahead" if window.end > now else "gap"))
        made.append((f"{start:%H:%M}" if kind == "5m" else f"{start:%d %b}", places))
    return made
