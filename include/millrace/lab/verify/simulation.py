"""Hold the warehouse against the manifest of a simulation, exactly."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from millrace import waiting
from millrace.lab.simulate.manifest import Manifest
from millrace.lab.verify import ledger, models, rollups
from millrace.lab.verify.report import Check, Difference, Report, compare
from millrace.lab.verify.warehouse import Span, Warehouse
from millrace.settings import Settings

POLL_SECONDS = 0.5


def _spans(manifest: Manifest) -> list[Span]:
    return [
        (int(partition), first, after)
        for partition, ranges in manifest.positions.items()
        for first, after in ranges
    ]


def await_incarnation(settings: Settings, manifest: Manifest, until: float) -> int:
    """Return how often the topic had been recreated; waits for ingest's first look at it.

    ``until`` is a time of ``time.monotonic()``. Raises ``LookupError`` when it passes.
    """

    def known() -> list[int]:
        incarnation = ledger.incarnation(settings, manifest.topic, manifest.topic_id)
        return [] if incarnation is None else [incarnation]

    (incarnation,) = waiting.until(
        known,
        f"ingest to know topic {manifest.topic!r} with the id {manifest.topic_id}",
        seconds=max(0.0, until - time.monotonic()),
        every=POLL_SECONDS,
        hint=(
            "the simulation wrote to it, and either ingest has not started yet, or the topic was "
            "deleted and created again since"
        ),
        error=LookupError,
    )
    return incarnation


def await_ingest(
    warehouse: Warehouse,
    spans: list[Span],
    incarnation: int,
    until: float,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> bool:
    """Wait until the positions have been judged; return whether they were before ``until``."""
    total = sum(after - first for _, first, after in spans)

    def judged() -> bool:
        done = sum(
            count
            for table in (warehouse.target, "rejected_events")
            for count, _ in warehouse.fingerprints(table, spans, incarnation).values()
        )
        on_progress(done, total)
        return done >= total

    return waiting.poll(judged, seconds=until - time.monotonic(), every=POLL_SECONDS)


def _label(minute: int, country: str, device: str, event_type: str) -> str:
    moment = datetime.fromtimestamp(minute * 60, UTC)
    return f"{moment:%Y-%m-%d %H:%M} {country} {device} {event_type}"


def _positions(warehouse: Warehouse, spans: list[Span], incarnation: int) -> Check:
    total = sum(after - first for _, first, after in spans)
    return Check(
        "every message once in raw_events, and once in events or rejected_events",
        f"{total:,} positions",
        [one.as_difference(warehouse.topic) for one in warehouse.misplaced(spans, incarnation)],
    )


def _one_by_one(
    warehouse: Warehouse, manifest: Manifest, spans: list[Span], incarnation: int
) -> Check:
    """Compare whole events. A copy counts as its first, whichever of them came first."""
    expected = {str(row[0]): tuple(row[1:]) for row in manifest.rows}
    found = {
        row[0]: tuple(row[1:])
        for row in warehouse.rows("events_one_by_one", spans, incarnation=incarnation)
    }
    return Check(
        "events one by one",
        f"{len(expected):,} events",
        [
            Difference(f"event_id {event_id}", expected.get(event_id), found.get(event_id))
            for event_id in sorted(expected.keys() | found.keys())
            if expected.get(event_id) != found.get(event_id)
        ],
    )


def _content(
    warehouse: Warehouse, manifest: Manifest, spans: list[Span], incarnation: int
) -> Check:
    """Compare keys, values and headers byte for byte, by the sum of their digests."""
    found = dict(warehouse.rows("content", spans, incarnation=incarnation))
    return compare(
        "raw_events byte for byte",
        f"{manifest.sent:,} messages",
        {f"partition {partition}": total for partition, total in manifest.content.items()},
        {f"partition {partition}": total for partition, total in found.items()},
    )


def await_loaded(manifest: Manifest, settings: Settings, *, wait_seconds: float) -> bool:
    """Wait until ingest has judged every message of a manifest; return whether it has in time.

    Raises ``LookupError`` when ingest does not know the topic at all.
    """
    until = time.monotonic() + wait_seconds
    incarnation = await_incarnation(settings, manifest, until)
    warehouse = Warehouse(settings, manifest.topic)
    return await_ingest(warehouse, _spans(manifest), incarnation, until)


def verify(
    manifest: Manifest,
    settings: Settings,
    *,
    wait_seconds: float = 120,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Report:
    """Wait for ingest, then hold the warehouse against the manifest.

    ``wait_seconds`` is how long ingest may take to catch up; what is missing afterwards shows as
    differences. Raises ``LookupError`` when ingest does not know the topic at all, and
    ``ValueError`` for a manifest of a file.
    """
    if not manifest.topic_id:
        raise ValueError("this simulation wrote a file, which no warehouse holds; use --to kafka")
    until = time.monotonic() + wait_seconds
    spans = _spans(manifest)
    warehouse = Warehouse(settings, manifest.topic)
    report = Report(f"Simulation {manifest.run_id}: {manifest.sent:,} messages")
    if not spans:
        report.checks.append(Check("messages", skipped="the simulation sent none"))
        return report
    incarnation = await_incarnation(settings, manifest, until)
    await_ingest(warehouse, spans, incarnation, until, on_progress)

    report.checks.append(_positions(warehouse, spans, incarnation))
    report.checks.append(
        compare(
            "events by minute, country, device and type",
            f"{len(manifest.events):,} groups, {manifest.accepted:,} events",
            {_label(*group_of(row)): int(row[4]) for row in manifest.events},
            {
                _label(*group_of(row)): int(row[4])
                for row in warehouse.rows("events_by_group", spans, incarnation=incarnation)
            },
        )
    )
    report.checks.append(
        compare(
            "events by page",
            f"{len(manifest.pages):,} pages",
            manifest.pages,
            dict(warehouse.rows("events_by_page", spans, incarnation=incarnation)),
        )
    )
    report.checks.append(
        compare(
            "rejected by reason",
            f"{len(manifest.rejected):,} reasons, {sum(manifest.rejected.values()):,} messages",
            manifest.rejected,
            dict(warehouse.rows("rejected_by_reason", spans, incarnation=incarnation)),
        )
    )
    if manifest.rows:
        report.checks.append(_one_by_one(warehouse, manifest, spans, incarnation))
    if manifest.content:
        report.checks.append(_content(warehouse, manifest, spans, incarnation))
    total, repeated = warehouse.repeated_event_ids(settings.duplicate_window_hours)
    report.checks.append(Check("no event_id twice", f"{total:,} events", repeated))
    minutes = [int(row[0]) for row in manifest.events] or [0]
    report.checks.append(
        rollups.check(
            warehouse, range(min(minutes), max(minutes) + 1), min(until, time.monotonic() + 15)
        )
    )
    report.checks += models.check(warehouse, settings, min(until, time.monotonic() + 15))
    if manifest.unconfirmed:
        report.checks.append(
            Check(
                "the manifest is exact",
                f"{manifest.sent + manifest.unconfirmed:,} messages",
                [Difference("messages without the broker's word", 0, manifest.unconfirmed)],
            )
        )
    return report


def group_of(row: list[int | str]) -> tuple[int, str, str, str]:
    """Return the key of a row of counts: minute, country, device, event type."""
    return int(row[0]), str(row[1]), str(row[2]), str(row[3])
