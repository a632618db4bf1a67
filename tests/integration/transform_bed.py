"""What the tests of the dbt project share: a warehouse of their own, and its plain counterpart."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
from clickhouse_connect.driver.client import Client
from tests.helpers import plain_models
from tests.helpers.plain_models import Event

from millrace.contract import publication
from millrace.lab import stacks
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres
from millrace.transform import deploy, project

MINUTE, FIVE_MINUTES = timedelta(minutes=1), timedelta(minutes=5)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GAP = timedelta(minutes=30)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
COLUMNS = [
    "event_id", "event_time", "event_type", "user_id", "page", "country", "device", "properties",
    "device_info", "geo_location", "warnings", "received_at", "ingested_at", "source_id", "topic",
    "topic_incarnation", "partition", "offset", "batch_id",
]  # fmt: skip


def deploy_untested(settings: Settings, source: Path = project.SOURCE) -> deploy.Deployment:
    """Deploy a project without running its unit tests, which take longer than all the rest.

    Their rows are their own, so that they hold in every warehouse if they hold in one:
    ``test_transform`` and ``./millrace up`` in ``whole`` deploy the project with them.
    """
    with stacks.variables({"DBT_EXCLUDE_RESOURCE_TYPES": "unit_test"}):  # dbt's own
        return deploy.deploy(settings, source)


class Bench:
    """A warehouse and a ledger of their own, and the events that were put into them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client: Client = clickhouse.connect(settings)
        self.events: list[Event] = []
        self.random = random.Random(7)
        self.batches = 0
        self.asked: list[str] = []

    def make(self, count: int, since: datetime, until: datetime, users: int = 150) -> list[Event]:
        """Return events that touch every edge: midnight, window edges, ties, gaps to the ms."""
        chosen = self.random
        span = int((until - since) / timedelta(milliseconds=1))
        events: list[Event] = []
        for _ in range(count):
            moment = since + timedelta(milliseconds=chosen.randrange(span))
            edge = chosen.random()
            if edge < 0.05:
                moment = plain_models.floor(moment, HOUR)
            elif edge < 0.15 and events:
                step = chosen.choice([0, 1, 1_799_999, 1_800_000, 1_800_001])
                moment = min(events[-1].event_time + timedelta(milliseconds=step), until)
            same = events[-1].user_id if edge < 0.15 and events else None
            event_type = chosen.choice(["page_view"] * 4 + ["add_to_cart", "purchase", "search"])
            events.append(
                Event(
                    event_id=UUID(int=chosen.getrandbits(128), version=4),
                    event_time=moment,
                    event_type=event_type,
                    user_id=same or chosen.randint(1, users),
                    page=chosen.choice(["/", "/cart", "/it's", "/product/säge"])
                    if event_type == "page_view"
                    else "",
                    country=chosen.choice(["DE", "US", ""]),
                    device=chosen.choice(["mobile", "desktop"]),
                )
            )
        return events

    def publish(self, events: list[Event], times: int = 1) -> None:
        """Publish events as one micro-batch through ledger and warehouse, as ingest does."""
        with postgres.connect(self.settings) as ledger:
            self._publish(ledger, events, times)

    def _publish(
        self, ledger: psycopg.Connection[dict[str, object]], events: list[Event], times: int
    ) -> None:
        claimed = ledger.execute(
            "INSERT INTO ingest_batches (source_id, gate_id, owner) VALUES ('test', 1, 'test')"
            " RETURNING batch_id, claimed_at"
        ).fetchone()
        assert claimed is not None
        batch_id, ingested_at = claimed["batch_id"], claimed["claimed_at"]
        events = [replace(e, batch_id=batch_id, ingested_at=ingested_at) for e in events]
        rows = [
            [e.event_id, e.event_time, e.event_type, e.user_id, e.page, e.country, e.device, {}, {},
             {}, [], ingested_at, ingested_at, "test", "test", 0, 0, number, batch_id]
            for number, e in enumerate(events, len(self.events))
        ]  # fmt: skip
        with publication.shared(ledger):
            for _ in range(times):
                self.client.insert(
                    "events",
                    rows,
                    column_names=COLUMNS,
                    settings={
                        "insert_deduplication_token": f"test:{batch_id}:0",
                        "deduplicate_blocks_in_dependent_materialized_views": 1,
                    },
                )
            ledger.execute(
                "UPDATE ingest_batches SET state = 'loaded', loaded_at = now() WHERE batch_id = %s",
                [batch_id],
            )
        self.events += events
        self.batches += 1

    def rebuild(self, day: date, events: list[Event]) -> None:
        """Swap a day of events and of the rollups that read it, as `rebuild_events` does."""
        kept = [e for e in self.events if e.event_time.date() != day]
        self.client.command("CREATE TABLE shadow_events AS events")
        rows = [
            [e.event_id, e.event_time, e.event_type, e.user_id, e.page, e.country, e.device, {}, {},
             {}, [], e.ingested_at, e.ingested_at, "test", "test", 0, 0, number, e.batch_id]
            for number, e in enumerate(events)
        ]  # fmt: skip
        self.client.insert("shadow_events", rows, column_names=COLUMNS)
        self._swap("events", day, "shadow_events")
        # finest first: a coarser rollup is filled again from the finer one
        for name, source in {
            "metrics_1min": f"{clickhouse.database(self.settings)}.events",
            "metrics_5min": "analytics.metrics_1min",
            "metrics_1h": "analytics.metrics_5min",
            "page_views_1min": f"{clickhouse.database(self.settings)}.events",
            "page_views_1h": "analytics.page_views_1min",
            "page_views_1d": "analytics.page_views_1h",
        }.items():
            select = self.client.query(
                f"SELECT as_select FROM system.tables WHERE database = 'analytics'"
                f" AND name = '{name}_mv'"
            ).result_rows[0][0]
            time = "event_time" if source.endswith("events") else "window_start"
            self.client.command(f"CREATE TABLE shadow_rollup AS analytics.{name}")
            self.client.command(
                f"INSERT INTO shadow_rollup {select}",
                settings={
                    "additional_table_filters": f"{{'{source}': 'toDate({time}) = \\'{day}\\''}}"
                },
            )
            self._swap(f"analytics.{name}", day, "shadow_rollup")
        self.client.command(f"INSERT INTO rebuilt_days (day, reason) VALUES ('{day}', 'test')")
        self.events = kept + events

    def _swap(self, table: str, day: date, shadow: str) -> None:
        is_empty = self.rows(f"SELECT count() FROM {shadow}") == [(0,)]
        swap = "DROP PARTITION '{}'" if is_empty else "REPLACE PARTITION '{}' FROM {}"
        self.client.command(f"ALTER TABLE {table} {swap.format(day, shadow)}")
        self.client.command(f"DROP TABLE {shadow} SYNC")

    def build(self) -> None:
        """Build the models that are not built on insert, as `build_models` does."""
        # no claim is under way here, so the ledger's margin of ten seconds need not pass
        self.client.command(
            "INSERT INTO published_through (published_through) SELECT now64(3) + 0.001"
        )
        variables = project.environment(
            self.settings, project.PRODUCTION, project=project.deployed(self.settings)
        )
        project.run(["run", "--select", "config.materialized:incremental"], variables)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Return a query's rows; remember that it was asked."""
        self.asked.append(query)
        return [tuple(row) for row in self.client.query(query).result_rows]


def check_rollups(bench: Bench) -> None:
    """Hold what is built on insert against plain Python."""
    for name, window in {
        "metrics_1min": MINUTE, "metrics_5min": FIVE_MINUTES, "metrics_1h": HOUR
    }.items():  # fmt: skip
        found = bench.rows(
            f"SELECT window_start, event_type, country, device, sum(events)"
            f" FROM analytics.{name} GROUP BY ALL"
        )
        expected = plain_models.per_window(bench.events, window)
        assert {utc(row[:4]): row[4] for row in found} == expected, name
    for name, window in {
        "page_views_1min": MINUTE, "page_views_1h": HOUR, "page_views_1d": DAY
    }.items():  # fmt: skip
        found = bench.rows(
            f"SELECT window_start, page, country, device, sum(page_views)"
            f" FROM analytics.{name} GROUP BY ALL"
        )
        expected = plain_models.page_views(bench.events, window)
        assert {utc(row[:4]): row[4] for row in found} == expected, name
    by_hour = plain_models.per_window(bench.events, HOUR)
    daily: Counter[object] = Counter()
    for (hour, event_type, _country, _device), events in by_hour.items():
        daily[hour.date(), event_type] += events  # type: ignore[attr-defined]
    found = bench.rows("SELECT day, event_type, events FROM analytics.event_types_daily")
    assert {row[:2]: row[2] for row in found} == daily
    daily = Counter(
        (e.event_time.date(), e.page) for e in bench.events if e.event_type == "page_view"
    )
    found = bench.rows("SELECT day, page, page_views FROM analytics.top_pages")
    assert {row[:2]: row[2] for row in found} == daily
    found = bench.rows(
        "SELECT country, device, sum(events), sum(page_views)"
        " FROM analytics.traffic_by_country_device GROUP BY ALL"
    )
    assert {row[:2]: row[2:] for row in found} == {
        key: (len(types), types.count("page_view"))
        for key, types in plain_models.types_by_place(bench.events).items()
    }
    found = bench.rows(
        "SELECT metric_name, sum(value) FROM analytics.metrics"
        " WHERE metric_name IN ('events', 'page_views') GROUP BY ALL"
    )
    assert dict(found) == {
        "events": len(bench.events),
        "page_views": sum(e.event_type == "page_view" for e in bench.events),
    }


def check_models(bench: Bench) -> None:
    """Hold what is built by touched keys against plain Python."""
    found = bench.rows(
        "SELECT user_id, started_at, ended_at, events, page_views, entry_page, exit_page, country,"
        " device FROM analytics.sessions"
    )
    assert len(found) == len(set(found))
    assert {utc(row) for row in found} == plain_models.sessions(bench.events, GAP)
    found = bench.rows(
        "SELECT user_id, window_start, events, unique_event_types, event_types"
        " FROM analytics.user_activity_1min"
    )
    assert {utc(row[:2]): (row[2], tuple(row[4])) for row in found} == plain_models.activity(
        bench.events
    )
    assert all(row[3] == len(row[4]) for row in found)  # type: ignore[arg-type]
    for name, window in {"unique_users_5min": FIVE_MINUTES, "unique_users_1h": HOUR}.items():
        found = bench.rows(
            f"SELECT window_start, country, device, uniqMerge(users) FROM analytics.{name}"
            " GROUP BY ALL"
        )
        expected = plain_models.unique_users(bench.events, window)
        assert {utc(row[:3]): row[3] for row in found} == expected, name
    found = bench.rows("SELECT day, active_users FROM analytics.active_users_daily")
    assert dict(found) == plain_models.active_users(bench.events)
    found = bench.rows("SELECT week, active_users, events FROM analytics.active_users_weekly")
    assert {row[0]: row[1:] for row in found} == plain_models.active_users_weekly(bench.events)
    found = bench.rows("SELECT cohort_week, weeks_later, users FROM analytics.retention_weekly")
    assert {row[:2]: row[2] for row in found} == plain_models.retention(bench.events)
    found = bench.rows("SELECT cohort_day, days_later, users FROM analytics.retention_daily")
    assert {row[:2]: row[2] for row in found} == plain_models.daily_retention(bench.events)
    found = bench.rows(
        "SELECT cohort_day, days_later, country, device, users"
        " FROM analytics.retention_by_country_device"
    )
    assert {row[:4]: row[4] for row in found} == plain_models.placed_retention(bench.events)
    found = bench.rows("SELECT user_id, sessions, events FROM analytics.user_profiles_latest")
    sessions = plain_models.sessions(bench.events, GAP)
    sessions_of = Counter(session[0] for session in sessions)
    events_of = Counter(e.user_id for e in bench.events)
    assert {row[0]: row[1:] for row in found} == {
        user: (sessions_of[user], events) for user, events in events_of.items()
    }
    found = bench.rows(
        "SELECT event_id, session_started_at FROM analytics.int_events_with_sessions"
    )
    assert {row[0] for row in found} == {e.event_id for e in bench.events}
    starts = {(s[0], s[1]) for s in sessions}
    users = {e.event_id: e.user_id for e in bench.events}
    assert {(users[UUID(str(row[0]))], *utc(row[1:])) for row in found} == starts
    found = bench.rows(
        "SELECT day, step, country, device, users FROM analytics.funnels_daily"
        " WHERE funnel = 'purchase'"
    )
    assert {row[:4]: row[4] for row in found} == plain_models.funnel(
        bench.events, ["page_view", "add_to_cart", "purchase"]
    )


def check_operations(
    bench: Bench, rejected: dict[str, int], of_other_tables: Sequence[str] = ()
) -> None:
    """Hold what tells of rejections and costs, and the long form, against what was sent.

    Costs of sources whose events go to another table are left out.
    """
    found = bench.rows(
        "SELECT reason, sum(rejected_events) FROM analytics.rejections_1min GROUP BY 1"
    )
    assert dict(found) == rejected
    found = bench.rows(
        "SELECT destination, sum(messages) FROM analytics.source_costs_daily FINAL"
        f" WHERE source_id NOT IN {['', *of_other_tables]} GROUP BY 1"
    )
    assert dict(found) == {"events": len(bench.events), "rejected_events": sum(rejected.values())}
    found = bench.rows("SELECT metric_name, sum(value) FROM analytics.metrics GROUP BY 1")
    expected = {
        "events": len(bench.events),
        "page_views": sum(e.event_type == "page_view" for e in bench.events),
        "rejected_events": sum(rejected.values()),
        "unique_users": sum(plain_models.unique_users(bench.events, FIVE_MINUTES).values()),
        "sessions": len(plain_models.sessions(bench.events, GAP)),
        "visitors": sum(plain_models.visitors(bench.events, GAP, FIVE_MINUTES).values()),
    }
    assert dict(found) == expected
    every = "SELECT DISTINCT metric_name FROM analytics.{} ORDER BY metric_name"
    of_rollups = bench.rows(every.format("metric_rollups"))
    assert of_rollups == bench.rows(every.format("metric_definitions"))
    defined = bench.rows("SELECT metric_name FROM analytics.metric_definitions WHERE is_sampled")
    assert {name for (name,) in defined} == expected.keys()


def utc(row: tuple[object, ...]) -> tuple[object, ...]:
    """Give times their zone, which the driver leaves out."""
    return tuple(
        value.replace(tzinfo=UTC) if isinstance(value, datetime) else value for value in row
    )
