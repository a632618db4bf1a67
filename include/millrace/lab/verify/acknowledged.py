"""Hold the warehouse against what the ingestion API acknowledged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from millrace import waiting
from millrace.lab.simulate.acknowledged import Acknowledged
from millrace.lab.verify.report import Check, Difference, Report
from millrace.lab.verify.warehouse import Warehouse
from millrace.settings import Settings

POLL_SECONDS = 1.0
BEFORE_MS = 60_000
"""By how much Kafka's clock may be behind the sender's."""


def verify(
    manifest: Acknowledged,
    settings: Settings,
    *,
    wait_seconds: float = 120,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Report:
    """Wait for ingest, then look for every acknowledged event.

    Each must be in the table of events once, and a user's in the order in which they were sent,
    as far as they are in one partition. Raises ``LookupError`` when nothing loads the topic.
    """
    warehouse = Warehouse(settings, manifest.topic)
    expected = {event_id for ids in manifest.users.values() for event_id in ids}
    since = int(datetime.fromisoformat(manifest.started_at).timestamp() * 1000) - BEFORE_MS
    rows: list[Sequence[Any]] = []

    def all_there() -> bool:
        rows[:] = [
            row for row in warehouse.rows("acknowledged_events", since=since) if row[0] in expected
        ]
        on_progress(len(rows), len(expected))
        return len({row[0] for row in rows}) == len(expected)

    waiting.poll(all_there, seconds=wait_seconds, every=POLL_SECONDS)
    report = Report(f"Simulation {manifest.run_id}: {manifest.sent:,} events acknowledged")
    report.checks.append(_once(expected, rows))
    report.checks.append(_in_order(manifest, rows))
    return report


def _once(expected: set[str], rows: Sequence[Sequence[Any]]) -> Check:
    found = Counter(row[0] for row in rows)
    return Check(
        "every acknowledged event once in events",
        f"{len(expected):,} events",
        [
            Difference(f"event_id {event_id}", 1, found[event_id])
            for event_id in sorted(expected)
            if found[event_id] != 1
        ],
    )


def _in_order(manifest: Acknowledged, rows: Sequence[Sequence[Any]]) -> Check:
    """Compare the order of the log with the order of sending, by user and partition."""
    place = {
        event_id: number for ids in manifest.users.values() for number, event_id in enumerate(ids)
    }
    orders: dict[tuple[str, int], list[str]] = defaultdict(list)
    for event_id, user, partition in rows:
        orders[user, partition].append(event_id)
    differences = []
    for (user, partition), ids in sorted(orders.items()):
        for before, after in pairwise(ids):
            if place[after] < place[before]:
                what = f"user {user} in partition {partition}"
                differences.append(Difference(what, f"{after} before {before}", "behind it"))
    return Check(
        "each user's events in the order of acknowledgement",
        f"{len(manifest.users):,} users",
        differences,
    )
