"""Windows out of the ordinary: volumes by event type and country against the same hour of week."""

from __future__ import annotations

from datetime import UTC, datetime

from millrace.quality.windows import closed_windows
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

DEVIATIONS = 6.0
LEAST_WEEKS = 3
WEEKS = 8


def find(settings: Settings, now: datetime | None = None) -> int:
    """Judge the last closed hour; return how many series stood out.

    The baseline of a series (an event type, and each country and device of it) is the same hour of
    the week in the eight weeks before. An hour that stood out is left out of later baselines, so
    an incident does not become the new normal; a series that goes silent stands out too.
    """
    moment = now or datetime.now(UTC)
    hour = closed_windows("1h", moment)[-1]
    client = clickhouse.connect(settings)
    try:
        client.command(
            sql.render("clickhouse/quality/find_anomalies.sql"),
            parameters={
                "start": hour.start,
                "end": hour.end,
                "weeks": WEEKS,
                "least": LEAST_WEEKS,
                "deviations": DEVIATIONS,
                "now": moment,
            },
        )
        ((count,),) = client.query(
            "SELECT count() FROM quality_anomalies FINAL WHERE window_start = {start:DateTime}",
            parameters={"start": hour.start},
        ).result_rows
    finally:
        client.close()
    return int(count)
