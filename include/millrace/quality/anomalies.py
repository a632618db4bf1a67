"""Hours out of the ordinary: volume, freshness and distribution against the same hour of week."""

from __future__ import annotations

from datetime import datetime

from clickhouse_connect.driver.client import Client

from millrace.quality.windows import Window
from millrace.stores import sql

DEVIATIONS = 6.0
LEAST_WEEKS = 3
WEEKS = 8
LEAST_EVENTS = 20
"""Fewer events of a series and hour say nothing about its freshness."""

STABILITY_THRESHOLD = 0.25
"""Population stability index above which a distribution has shifted."""

NORMAL_QUANTILE = 4.0
"""How unlikely chance must be: one series in 30,000 passes it."""


def find(client: Client, hour: Window, now: datetime) -> int:
    """Judge an hour, again if it was judged before; return how many series stood out.

    The baseline of a series (an event type, and each country and device of it) is the same hour of
    the week in the eight weeks before. An hour that stood out is left out of later baselines, so
    an incident does not become the new normal; a series that goes silent stands out too.
    """
    parameters = {
        "start": hour.start,
        "end": hour.end,
        "weeks": WEEKS,
        "least": LEAST_WEEKS,
        "deviations": DEVIATIONS,
        "least_events": LEAST_EVENTS,
        "threshold": STABILITY_THRESHOLD,
        "z": NORMAL_QUANTILE,
        "now": now,
    }
    client.command(
        sql.render("clickhouse/quality/forget_anomalies.sql"),
        parameters=parameters,
        settings={"lightweight_deletes_sync": 2},
    )
    for name in ("find_volumes", "find_freshness", "find_distributions"):
        client.command(sql.render(f"clickhouse/quality/{name}.sql"), parameters=parameters)
    ((count,),) = client.query(
        sql.render("clickhouse/quality/count_anomalies.sql"), parameters=parameters
    ).result_rows
    return int(count)
