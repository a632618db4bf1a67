"""How long alerts' history is kept: as long as events are, and as the results of each minute."""

from __future__ import annotations

from datetime import datetime, timedelta

from millrace.alerts import repository
from millrace.settings import Settings
from millrace.stores import postgres


def expire(settings: Settings, now: datetime) -> str:
    """Delete what is past ``events_retention_days`` and over; say how much.

    What waits to be sent stays, and so does what was told of an incident that is open: its end
    follows where its beginning went.
    """
    before = {"before": now - timedelta(days=settings.events_retention_days)}
    with postgres.connect(settings) as connection:
        told = connection.execute(repository.query("expire_notifications"), before).rowcount
        changes = connection.execute(repository.query("expire_transitions"), before).rowcount
    return f"{told} notifications and {changes} changes of alerts"
