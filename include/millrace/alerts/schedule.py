"""When a minute may be judged."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from millrace.alerts.check import due_at, floor_minute
from millrace.settings import Settings


def await_minute(settings: Settings, minute: datetime) -> datetime:
    """Wait until ``minute`` is old enough to be judged; return the newest minute that is.

    The wait is at most ``alert_delay_seconds``: events of a minute may still be under way at its
    end. For a minute that is long past it is none.
    """
    minute = floor_minute(minute)
    ready_at = minute.timestamp() + settings.alert_delay_seconds
    wait = min(ready_at - datetime.now(UTC).timestamp(), settings.alert_delay_seconds)
    if wait > 0:
        threading.Event().wait(wait)
    return due_at(settings, datetime.now(UTC))
