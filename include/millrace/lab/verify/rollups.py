"""Hold the rollups that ingest feeds against the events they are made of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from millrace import waiting
from millrace.lab.verify.report import Check, Difference
from millrace.lab.verify.warehouse import Warehouse
from millrace.settings import Settings

NAME = "rollups equal their events"
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Rollup:
    """What a rollup counts, said a second time: the oracle does not read the models."""

    table: str
    seconds: int
    first_dimension: str
    value: str
    only: str = "true"


BY_TYPE = ("event_type", "events")
BY_PAGE = ("page", "page_views", "event_type = 'page_view'")
ROLLUPS = (
    Rollup("metrics_1min", 60, *BY_TYPE),
    Rollup("metrics_5min", 300, *BY_TYPE),
    Rollup("metrics_1h", 3600, *BY_TYPE),
    Rollup("page_views_1min", 60, *BY_PAGE),
    Rollup("page_views_1h", 3600, *BY_PAGE),
    Rollup("page_views_1d", 86400, *BY_PAGE),
)


def check(warehouse: Warehouse, minutes: range, until: float) -> Check:
    """Compare every rollup that is there over ``minutes`` since 1970, widened to whole windows.

    Both sides grow meanwhile, so a difference must last until ``until`` (``time.monotonic()``).
    """
    if warehouse.target != "events":
        return Check(NAME, skipped=f"the rollups are made from events, not {warehouse.target}")
    there = [rollup for rollup in ROLLUPS if _exists(warehouse, rollup)]
    if not there:
        return Check(NAME, skipped="dbt has not built any of them yet")
    # Rollups keep the counts of events that were erased on request.
    ((erased,),) = warehouse.client.query("SELECT count() FROM erased_positions").result_rows
    found = [
        one
        for rollup in there
        for one in _but_erased(_differences(warehouse, rollup, minutes, until), erased)
    ]
    names = ", ".join(rollup.table for rollup in there)
    allowed = f", but for {erased:,} erased messages" if erased else ""
    return Check(NAME, f"{names} over {len(minutes):,} minutes{allowed}", found)


def _but_erased(found: list[Difference], erased: int) -> list[Difference]:
    """Return the differences, or none if so many events more were erased on request."""
    more = [int(str(one.found)) - int(str(one.expected)) for one in found]
    return [] if all(n > 0 for n in more) and sum(more) <= erased else found


def check_all(warehouse: Warehouse, settings: Settings, until: float) -> Check:
    """Compare every rollup over all that ``events`` holds, but for days that expire soon."""
    since = int((time.time() - (settings.events_retention_days - 2) * 86_400) * 1000)
    ((first, last),) = warehouse.rows("minutes_held", since=since)
    if not last:
        return Check(NAME, skipped="there are no events")
    return check(warehouse, range(first, last + 1), until)


def _exists(warehouse: Warehouse, rollup: Rollup) -> bool:
    return bool(warehouse.client.query(f"EXISTS analytics.{rollup.table}").result_rows[0][0])


def _differences(
    warehouse: Warehouse, rollup: Rollup, minutes: range, until: float
) -> list[Difference]:
    since = minutes.start * 60 // rollup.seconds * rollup.seconds
    after = -(-minutes.stop * 60 // rollup.seconds) * rollup.seconds
    rows: Sequence[Any] = []

    def agrees() -> bool:
        nonlocal rows
        rows = warehouse.rows("rollup_differences", rollup=rollup, since=since, until=after)
        return not rows

    waiting.poll(agrees, seconds=until - time.monotonic(), every=POLL_SECONDS)
    return [
        Difference(
            f"{rollup.table} {datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M} "
            f"{country} {device} {first}",
            events,
            rolled_up,
        )
        for start, first, country, device, events, rolled_up in rows
    ]
