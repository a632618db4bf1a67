"""Windows of exports, and where their files lie."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from millrace.exports.definitions import Definition, ExportError


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
