"""What is counted at the edges of seconds, minutes, hours and days, against plain Python.

Events lie on each edge, a millisecond before it and one after, each in a micro-batch and a part of
its own: parts all of whose rows lie in the last second before a bound, as ingest makes them.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.helpers import comparisons, own_warehouse
from tests.helpers.plain_models import Event, floor
from tests.integration.transform_bed import (
    DAY,
    FIVE_MINUTES,
    HOUR,
    MINUTE,
    TODAY,
    Bench,
    check_models,
    check_rollups,
    deploy_untested,
)  # fmt: skip

from millrace.alerts.evaluation import Evaluator
from millrace.alerts.model import Rule
from millrace.exports import definitions
from millrace.exports.definitions import PersonalData
from millrace.exports.windows import Window as ExportWindow
from millrace.exports.writer import Exporter
from millrace.lab.verify import rollups
from millrace.lab.verify.warehouse import Warehouse
from millrace.quality import audit
from millrace.quality.windows import window_at
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres

MILLISECOND = timedelta(milliseconds=1)
NOON = TODAY - timedelta(hours=36)
EDGES = (
    TODAY - DAY,
    NOON,
    NOON + 2 * HOUR,
    NOON + timedelta(minutes=35),
    NOON + timedelta(minutes=37),
    NOON + timedelta(minutes=37, seconds=21),
)
METRICS = "analytics.metrics_1min"
MADE_OF_MESSAGES = {"raw_events", "event_id_register", "source_costs_daily"}
"""Datasets that lack what only ingest itself would have written."""
MOMENTS = [edge + shift for edge in EDGES for shift in (-MILLISECOND, 0 * MILLISECOND, MILLISECOND)]


def event(number: int, moment: datetime) -> Event:
    return Event(
        event_id=uuid.uuid4(),
        event_time=moment,
        event_type=("page_view", "add_to_cart", "purchase")[number % 3],
        user_id=1 + number % 4,
        page="/" if number % 3 == 0 else "",
        country="DE",
        device="mobile",
    )


@pytest.fixture(scope="module")
def bench(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Half of the events are there when the models are deployed, the others come one by one."""
    with own_warehouse.own(settings, tmp_path_factory.mktemp("edges"), "edges_test") as own:
        bench = Bench(own)
        database = clickhouse.database(own)
        for table in ("events", "raw_events", "rejected_events"):
            bench.client.command(f"SYSTEM STOP MERGES {database}.{table}")
        events = [event(number, moment) for number, moment in enumerate(MOMENTS)]
        for one in events[::2]:
            bench.publish([one])
        deploy_untested(own)
        for one in events[1::2]:
            bench.publish([one])
            bench.build()
        yield bench
        bench.client.close()


def count(events: list[Event], start: datetime, end: datetime) -> int:
    return sum(start <= e.event_time < end for e in events)


def test_rollups_and_models_hold_what_lies_in_their_windows(bench: Bench) -> None:
    check_rollups(bench)
    check_models(bench)
    for window in (MINUTE, FIVE_MINUTES, HOUR, DAY):
        for edge in EDGES:
            start, end = floor(edge, window), floor(edge, window) + window
            bounds = {"start": start, "end": end}
            for column, relation in (("event_time", "events"), ("window_start", METRICS)):
                found = bench.client.query(
                    f"SELECT {'count()' if relation == 'events' else 'sum(events)'}"
                    f" FROM {relation} WHERE {column} >= {{start:DateTime64(3, 'UTC')}}"
                    f" AND {column} < {{end:DateTime64(3, 'UTC')}}",
                    parameters=bounds,
                ).first_row[0]
                assert found == count(bench.events, start, end), (relation, window, edge)


def test_the_oracle_sees_no_difference(bench: Bench) -> None:
    minutes = range(
        int((EDGES[1] - HOUR).timestamp()) // 60, int((EDGES[0] + HOUR).timestamp()) // 60
    )
    warehouse = Warehouse(bench.settings, "test")
    found = rollups.check(warehouse, minutes, time.monotonic() + 20)
    assert found.skipped == ""
    assert found.differences == []


@pytest.mark.parametrize("kind", ["5m", "1h", "1d"])
def test_audits_pass(bench: Bench, kind: str) -> None:
    windows = {window_at(kind, moment) for moment in MOMENTS}
    audits = [
        one
        for window in sorted(windows)
        for one in audit.audit_window(bench.settings, window)
        if one.dataset not in MADE_OF_MESSAGES
    ]
    assert {"events", "page_views_1h"} & {one.dataset for one in audits}
    assert [one.summary() for one in audits if one.failures] == []
    assert [f for one in audits for f in one.findings if "error" in f.observed] == []


def test_exports_hold_what_lies_in_their_windows(bench: Bench) -> None:
    definitions.apply(bench.settings)
    with Exporter(bench.settings) as exporter, postgres.connect(bench.settings) as ledger:
        definition = definitions.read(ledger, "events")[0]
        for start in sorted({floor(moment, HOUR) for moment in MOMENTS}):
            made = exporter.write(
                definition, PersonalData.PLAIN, ExportWindow("events", start, start + HOUR),
                datetime.now(UTC), f"edges/{start:%Y%m%dT%H}/",
            )  # fmt: skip
            assert made.row_count == count(bench.events, start, start + HOUR), start


def test_alerts_see_each_minute_whole(bench: Bench) -> None:
    rules = [
        Rule("events", "sum(sum_over_time(events[1m])) > -1", "warning", "me", "", []),
        Rule("total", "sum(events_total) > -1", "warning", "me", "", []),
    ]
    with Evaluator(bench.settings) as evaluator:
        for edge in EDGES:
            first = floor(edge, MINUTE)
            found = evaluator.evaluate(rules, first, first + MINUTE)
            for end in (first, first + MINUTE):
                within = count(bench.events, end - MINUTE, end)
                series = [({}, float(within))] if within else []
                assert found[end]["events"].series == series, end
                so_far = sum(
                    count([e for e in bench.events if e.event_type == kind], newest, after)
                    for kind in ("page_view", "add_to_cart", "purchase")
                    for newest, after in seen(bench.events, kind, end)
                )
                assert found[end]["total"].series == ([({}, float(so_far))] if so_far else []), end


def seen(events: list[Event], kind: str, end: datetime) -> list[tuple[datetime, datetime]]:
    """Return from when to when a type's counter counts that an alert finds, if it finds one.

    It looks for the newest minute with an event that ended less than five minutes ago.
    """
    minutes = [floor(e.event_time, MINUTE) for e in events if e.event_type == kind]
    recent = [m for m in minutes if end - FIVE_MINUTES < m + MINUTE <= end]
    return [(floor(max(recent), DAY), max(recent) + MINUTE)] if recent else []


def test_what_runbooks_ask_runs_and_compares_times_rightly(
    bench: Bench, repository: Path, watch: comparisons.Watch
) -> None:
    questions = [
        query
        for page in sorted((repository / "docs" / "runbooks").glob("*.md"))
        for query in re.findall(
            r'`./millrace sql --as operator "(SELECT [^"]*)"`', page.read_text()
        )
    ]
    assert len(questions) > 10
    watch.found.clear()
    for question in questions:
        bench.client.query(question)
    assert watch.found == []
