"""The dbt project on the real engine, held against plain Python; and its deployments."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from tests.helpers import own_warehouse, plain_models
from tests.helpers.plain_models import Event

from millrace.settings import Settings
from millrace.stores import clickhouse, postgres
from millrace.transform import deploy, project

MINUTE, FIVE_MINUTES, HOUR = timedelta(minutes=1), timedelta(minutes=5), timedelta(hours=1)
GAP = timedelta(minutes=30)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
COLUMNS = [
    "event_id", "event_time", "event_type", "user_id", "page", "country", "device", "properties",
    "device_info", "geo_location", "warnings", "received_at", "ingested_at", "source_id", "topic",
    "topic_incarnation", "partition", "offset", "batch_id",
]  # fmt: skip


class Bench:
    """A warehouse and a ledger of their own, and the events that were put into them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client: Client = clickhouse.connect(settings)
        self.events: list[Event] = []
        self.random = random.Random(7)
        self.batches = 0

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
                    page=chosen.choice(["/", "/cart", "/it's", "/säge"])
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
            for number, e in enumerate(events)
        ]  # fmt: skip
        ledger.execute("SELECT pg_advisory_lock_shared(hashtext('millrace.publish'))")
        try:
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
        finally:
            ledger.execute("SELECT pg_advisory_unlock_shared(hashtext('millrace.publish'))")
        self.events += events
        self.batches += 1

    def rebuild(self, day: date, events: list[Event]) -> None:
        """Swap a day of events and of the rollups that read it, as `rebuild_events` does."""
        kept = [e for e in self.events if e.event_time.date() != day]
        self.events = kept
        self.client.command("CREATE TABLE shadow_events AS events")
        before = list(self.events)
        rows = [
            [e.event_id, e.event_time, e.event_type, e.user_id, e.page, e.country, e.device, {}, {},
             {}, [], e.ingested_at, e.ingested_at, "test", "test", 0, 0, number, e.batch_id]
            for number, e in enumerate(events)
        ]  # fmt: skip
        self.client.insert("shadow_events", rows, column_names=COLUMNS)
        self.client.command(f"ALTER TABLE events REPLACE PARTITION '{day}' FROM shadow_events")
        # finest first: a coarser rollup is filled again from the finer one
        for name, source in {
            "metrics_1min": f"{clickhouse.database(self.settings)}.events",
            "metrics_5min": "analytics.metrics_1min",
            "metrics_1h": "analytics.metrics_5min",
            "page_views_1min": f"{clickhouse.database(self.settings)}.events",
            "page_views_1h": "analytics.page_views_1min",
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
            self.client.command(
                f"ALTER TABLE analytics.{name} REPLACE PARTITION '{day}' FROM shadow_rollup"
            )
            self.client.command("DROP TABLE shadow_rollup SYNC")
        self.client.command("DROP TABLE shadow_events SYNC")
        self.client.command(f"INSERT INTO rebuilt_days (day, reason) VALUES ('{day}', 'test')")
        self.events = before + events

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
        """Return a query's rows."""
        return [tuple(row) for row in self.client.query(query).result_rows]


@pytest.fixture(scope="module")
def bench(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A deployed project on an empty warehouse, apart from what other tests use."""
    home = tmp_path_factory.mktemp("transform")
    with own_warehouse.own(settings, home, "transform_test") as own:
        bench = Bench(own)
        bench.publish(bench.make(2_000, TODAY - timedelta(days=2), TODAY - timedelta(days=1)))
        deploy.deploy(own)
        yield bench
        bench.client.close()


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
    for name, window in {"page_views_1min": MINUTE, "page_views_1h": HOUR}.items():
        found = bench.rows(
            f"SELECT window_start, page, country, device, sum(page_views)"
            f" FROM analytics.{name} GROUP BY ALL"
        )
        expected = plain_models.page_views(bench.events, window)
        assert {utc(row[:4]): row[4] for row in found} == expected, name


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
    found = bench.rows("SELECT day, step, users FROM analytics.purchase_funnel_daily FINAL")
    assert {row[:2]: row[2] for row in found if row[2]} == plain_models.funnel(
        bench.events, ["page_view", "add_to_cart", "purchase"]
    )


def utc(row: tuple[object, ...]) -> tuple[object, ...]:
    """Give times their zone, which the driver leaves out."""
    return tuple(
        value.replace(tzinfo=UTC) if isinstance(value, datetime) else value for value in row
    )


def test_models_agree_with_plain_python_whatever_arrives(bench: Bench) -> None:
    check_rollups(bench)
    check_models(bench)

    bench.publish(bench.make(400, TODAY - timedelta(days=1), TODAY))
    bench.publish(bench.make(300, TODAY - timedelta(hours=1), TODAY), times=2)  # repeated
    bench.build()
    check_rollups(bench)
    check_models(bench)

    late = bench.make(200, TODAY - timedelta(days=2), TODAY)
    new_user = [replace(e, user_id=e.user_id + 1_000) for e in bench.make(50, TODAY - GAP, TODAY)]
    bench.publish(late)
    bench.publish(new_user)
    bench.build()
    check_rollups(bench)
    check_models(bench)


def test_a_rebuilt_day_rebuilds_what_was_made_of_it(bench: Bench) -> None:
    day = (TODAY - timedelta(days=1)).date()
    events = [e for e in bench.events if e.event_time.date() == day]
    gone = {e.user_id for e in events if e.user_id % 3 == 0}
    bench.rebuild(
        day,
        [
            replace(e, country="FR") if e.user_id % 5 == 0 else e
            for e in events
            if e.user_id not in gone
        ],
    )
    bench.build()
    check_rollups(bench)
    check_models(bench)


def test_building_again_changes_nothing(bench: Bench) -> None:
    bench.build()
    check_models(bench)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """Return the project with a text in one of its files replaced."""

    def change(file: str, old: str, new: str) -> Path:
        copy = tmp_path / "dbt"
        if not copy.exists():
            shutil.copytree(project.SOURCE, copy)
        path = copy / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return copy

    return change


def test_a_broken_model_is_not_deployed(
    bench: Bench, changed: Callable[[str, str, str], Path]
) -> None:
    source = changed("models/marts/traffic/top_pages.sql", "sum(page_views)", "0 * sum(page_views)")
    before = bench.rows("SELECT * FROM analytics.top_pages ORDER BY ALL")

    with pytest.raises(deploy.DeploymentError, match="positive_top_pages_page_views"):
        deploy.deploy(bench.settings, source)

    assert bench.rows("SELECT * FROM analytics.top_pages ORDER BY ALL") == before
    assert deploy.is_deployed(bench.settings)


def test_a_lost_model_is_built_again(bench: Bench) -> None:
    before = bench.rows("SELECT * FROM analytics.metrics_1h FINAL ORDER BY ALL")
    bench.client.command(f"DROP DATABASE {project.PRODUCTION} SYNC")
    assert not deploy.is_deployed(bench.settings)

    assert deploy.deploy(bench.settings).changed

    assert bench.rows("SELECT * FROM analytics.metrics_1h FINAL ORDER BY ALL") == before


def test_rollups_are_kept_as_long_as_events(bench: Bench) -> None:
    query = "SELECT * FROM analytics.user_activity_1min ORDER BY ALL"
    before = bench.rows(query)

    longer = bench.settings.model_copy(update={"events_retention_days": 400})
    assert "int_user_activity_versions" in deploy.deploy(longer).built

    kept = "SELECT create_table_query FROM system.tables WHERE database = 'analytics'"
    for name in ("int_user_activity_versions", "metrics_1min"):
        ((statement,),) = bench.rows(f"{kept} AND name = '{name}'")
        assert "toIntervalDay(400)" in str(statement)
    assert bench.rows(query) == before
    deploy.deploy(bench.settings)


def test_a_changed_rollup_has_its_history_and_misses_no_insert(
    bench: Bench, changed: Callable[[str, str, str], Path]
) -> None:
    file = "models/marts/metrics/metrics_1min.sql"
    source = changed(
        file,
        "    event_type,\n    country",
        "    lower(event_type) as event_type,\n    upper(country) as country",
    )
    stop = threading.Event()

    def keep_publishing() -> None:
        writer = Bench(bench.settings)
        writer.random.seed(11)
        while not stop.is_set():
            writer.publish(writer.make(20, TODAY - timedelta(hours=2), TODAY))
            stop.wait(0.05)
        published.extend(writer.events)
        writer.client.close()

    published: list[Event] = []
    thread = threading.Thread(target=keep_publishing)
    thread.start()
    try:
        done = deploy.deploy(bench.settings, source)
    finally:
        stop.set()
        thread.join()

    assert {"metrics_1min", "metrics_5min", "metrics_1h", "metrics"} <= set(done.built)
    assert "page_views_1min" not in done.built
    assert published
    bench.events += published
    check_rollups(bench)
    assert not deploy.deploy(bench.settings, source).changed


def test_every_model_has_exactly_the_columns_it_describes(bench: Bench) -> None:
    from dbt.contracts.graph.manifest import WritableManifest

    manifest = WritableManifest.read_and_check_versions(
        str(project.deployed(bench.settings) / "target" / "manifest.json")
    )
    models = [n for n in manifest.nodes.values() if n.resource_type == "model"]
    assert len(models) > 25
    for model in models:
        described = bench.rows(f"DESCRIBE TABLE {model.relation_name}")
        assert {row[0] for row in described} == set(model.columns), model.name
        assert model.description, model.name
        assert all(column.description for column in model.columns.values()), model.name
        tested = [
            n for n in manifest.nodes.values()
            if n.resource_type == "test" and model.unique_id in n.depends_on.nodes
        ]  # fmt: skip
        assert tested, f"{model.name} has no test"
