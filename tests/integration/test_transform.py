"""The dbt project on the real engine, held against plain Python; and its deployments."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from tests.helpers import dbt_columns, own_warehouse, wait
from tests.helpers.plain_models import Event
from tests.integration.transform_bed import GAP, HOUR, TODAY, Bench, check_models, check_rollups

from millrace.lab.verify import models, rollups
from millrace.lab.verify.warehouse import Warehouse
from millrace.settings import Settings
from millrace.stores import objects, postgres, sql
from millrace.transform import (
    deploy,
    docs,
    leftovers,
    project,
    sandbox,
    standing,
    watermark,
)
from millrace.usecases import deploy_models


def environment(settings: Settings) -> dict[str, str]:
    """The variables that give another process these settings."""
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    texts = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in values.items()
        if isinstance(value, SecretStr | str | Path | int | float)
    }
    return {**os.environ, **{f"MILLRACE_{name.upper()}": text for name, text in texts.items()}}


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


def test_late_and_live_events_of_one_build_agree_with_plain_python(bench: Bench) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    visits = bench.make(40, now - HOUR, now)
    without_end = [  # a session that began long before what counts as late
        replace(e, user_id=5_000, event_time=now - n * timedelta(minutes=20))
        for n, e in enumerate(visits)
    ]
    bench.publish(without_end[1:])
    bench.build()

    bench.publish(without_end[:1] + bench.make(300, now - timedelta(hours=12), now))
    bench.publish(bench.make(100, TODAY - timedelta(days=2), TODAY))
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


def test_a_day_that_lost_all_its_events_loses_its_rows(bench: Bench) -> None:
    day = (TODAY - timedelta(days=2)).date()
    bench.rebuild(day, [])
    bench.build()
    check_rollups(bench)
    check_models(bench)
    for model in ("purchase_funnel_daily FINAL", "active_users_daily"):
        assert day not in {row[0] for row in bench.rows(f"SELECT day FROM analytics.{model}")}


def test_a_build_that_was_killed_is_completed_by_the_next(bench: Bench) -> None:
    bench.publish(bench.make(300, TODAY - timedelta(hours=5), TODAY))
    bench.client.command(
        "INSERT INTO published_through (published_through) SELECT now64(3) + 0.001"
    )
    deployed = project.deployed(bench.settings)
    variables = project.environment(bench.settings, project.PRODUCTION, project=deployed)
    newest = "SELECT max(built_through) FROM analytics.int_user_activity_versions"
    before = bench.rows(newest)
    dbt = subprocess.Popen(
        [str(Path(sys.executable).parent / "dbt"), "--quiet", "run", "--threads", "1", "--select",
         "config.materialized:incremental"],
        env=os.environ | variables,
    )  # fmt: skip
    try:
        wait.until(lambda: bench.rows(newest) != before, 60)
    finally:
        dbt.kill()
        dbt.wait()
    bench.publish(bench.make(100, TODAY - timedelta(hours=5), TODAY))

    bench.build()

    check_rollups(bench)
    check_models(bench)


def test_costs_follow_the_ledger(bench: Bench) -> None:
    total = (
        "SELECT sum(messages) FROM analytics.source_costs_daily FINAL WHERE destination = 'events'"
    )
    with postgres.connect(bench.settings) as ledger:
        ledger.execute(
            "UPDATE ingest_batches SET message_count = 10, event_count = 10,"
            " byte_count = 100, loaded_at = now()"
        )
        bench.build()
        assert bench.rows(total) == [(10 * bench.batches,)]
        ledger.execute(
            "INSERT INTO data_sources (source_id, description, topic, dead_letter_topic)"
            " VALUES ('other', 'Other', 'other', 'other.dead_letter')"
        )
        ledger.execute("UPDATE ingest_batches SET source_id = 'other', loaded_at = now()")
    bench.build()
    rows = bench.rows("SELECT DISTINCT source_id FROM analytics.source_costs_daily FINAL")
    assert rows == [("other",)]


def test_dbt_leaves_the_views_of_ingest_as_they_are(bench: Bench) -> None:
    identity = sql.render("clickhouse/ingest/views.sql").replace(
        "{register_instance:UInt64}", "toUInt64(0)"
    )
    before = bench.rows(identity)
    deployed = project.deployed(bench.settings)
    variables = project.environment(bench.settings, project.PRODUCTION, project=deployed)
    for _ in range(2):
        project.run(["run", "--select", "config.materialized:materialized_view"], variables)
    assert bench.rows(identity) == before


def test_the_oracle_sees_a_wrong_session_and_a_wrong_minute(bench: Bench) -> None:
    bench.publish(bench.make(300, TODAY - timedelta(hours=3), TODAY))
    bench.build()
    warehouse = Warehouse(bench.settings, "test")
    names = (models.SESSIONS, models.ACTIVITY)

    def differences() -> list[int]:
        checks = {one.name: one for one in models.check(warehouse, bench.settings, 0)}
        assert [checks[name].skipped for name in names] == ["", ""]
        assert all(f"{len(bench.events):,} events" in one.compared for one in checks.values())
        return [len(checks[name].differences) for name in names]

    assert differences() == [0, 0]
    bench.client.command(
        "INSERT INTO analytics.int_session_versions SELECT * REPLACE (events + 1 AS events)"
        " FROM analytics.int_session_versions FINAL LIMIT 1"
    )
    bench.client.command(
        "INSERT INTO analytics.int_user_activity_versions SELECT * REPLACE (['x'] AS event_types)"
        " FROM analytics.int_user_activity_versions FINAL LIMIT 1"
    )
    assert differences() == [2, 1]
    rolled_up = rollups.check_all(warehouse, bench.settings, 0)
    assert (rolled_up.differences, rolled_up.skipped) == ([], "")
    bench.client.command(
        "INSERT INTO analytics.metrics_1h SELECT * REPLACE (1 AS events)"
        " FROM analytics.metrics_1h LIMIT 1"
    )
    (wrong,) = rollups.check_all(warehouse, bench.settings, 0).differences
    assert wrong.what.startswith("metrics_1h ")
    for name in ("int_session_versions", "int_user_activity_versions", "metrics_1h"):
        bench.client.command(f"DROP TABLE analytics.{name} SYNC")
    deploy_models.deploy_apart(bench.settings, environment(bench.settings))  # everything anew
    assert deploy.is_deployed(bench.settings)
    bench.build()
    assert differences() == [0, 0]


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


def test_models_have_nothing_to_do_until_something_arrives(bench: Bench) -> None:
    bench.client.command("INSERT INTO rebuilt_days (day, reason) VALUES ('2020-01-01', 'test')")
    assert watermark.is_anything_new(bench.settings)
    through = datetime.now(UTC) + timedelta(seconds=1)
    watermark.record_build(bench.settings, through)
    bench.client.command("TRUNCATE TABLE rebuilt_days")
    assert not watermark.is_anything_new(bench.settings)
    bench.client.command("INSERT INTO rebuilt_days (day, reason) VALUES ('2020-01-01', 'test')")
    assert watermark.is_anything_new(bench.settings)
    bench.client.command("TRUNCATE TABLE rebuilt_days")

    wait.until(lambda: datetime.now(UTC) > through)
    bench.publish(bench.make(1, TODAY - timedelta(hours=1), TODAY))
    assert watermark.is_anything_new(bench.settings)
    bench.build()


def test_an_analysts_changes_are_tried_on_a_sample(bench: Bench) -> None:
    sandbox.sample(bench.settings)
    try:
        select = ["--select", "metrics_1min+", "sessions+", "purchase_funnel_daily"]
        assert project.pass_through(bench.settings, ["build", *select], project.SANDBOX) == 0
        database = project.sandbox_database()
        assert bench.rows(f"SELECT sum(events) FROM {database}.metrics_1h") == bench.rows(
            f"SELECT count() FROM {database}.events"
        )
        missing = ["run", "--select", "no_such_model", "--warn-error"]
        assert project.pass_through(bench.settings, missing, project.SANDBOX) != 0
    finally:
        bench.client.command(f"DROP DATABASE {project.sandbox_database()} SYNC")


def test_a_broken_model_is_not_deployed(
    bench: Bench, changed: Callable[[str, str, str], Path]
) -> None:
    source = changed("models/marts/traffic/top_pages.sql", "sum(page_views)", "0 * sum(page_views)")
    before = bench.rows("SELECT * FROM analytics.top_pages ORDER BY ALL")

    with pytest.raises(deploy.DeploymentError, match="positive_top_pages_page_views"):
        deploy.deploy(bench.settings, source)

    assert bench.rows("SELECT * FROM analytics.top_pages ORDER BY ALL") == before
    assert deploy.is_deployed(bench.settings)


def test_a_model_that_throws_is_tried_on_a_copy_and_never_touches_ingest(
    bench: Bench, changed: Callable[[str, str, str], Path]
) -> None:
    source = changed(
        "models/marts/metrics/page_views_1min.sql", "count() as", "count() + throwIf(1) as"
    )
    hung: list[object] = []

    def look(_said: str) -> None:
        hung.extend(bench.rows(VIEWS_OF_THE_SHADOW))

    with pytest.raises(deploy.DeploymentError, match=r"page_views_1min.* throws on the events of"):
        deploy.deploy(bench.settings, source, say=look)

    assert not [view for view in hung if view == ("page_views_1min_mv",)]
    assert bench.rows(VIEWS_OF_THE_SHADOW) == []
    bench.publish(bench.make(10, TODAY - timedelta(hours=1), TODAY))
    check_rollups(bench)
    assert deploy.is_deployed(bench.settings)


VIEWS_OF_THE_SHADOW = (
    "SELECT name FROM system.tables WHERE database = 'analytics_shadow' AND engine LIKE '%View'"
)


def test_what_a_killed_deployment_left_on_ingest_is_seen_and_removed(bench: Bench) -> None:
    bench.client.command(f"CREATE DATABASE {project.SHADOW}")
    bench.client.command(f"CREATE TABLE {project.SHADOW}.half (n UInt8) ENGINE = Null")
    bench.client.command(
        f"CREATE MATERIALIZED VIEW {project.SHADOW}.half_mv TO {project.SHADOW}.half AS"
        " SELECT throwIf(1) AS n FROM events"
    )
    (left,) = leftovers.find(bench.settings)
    assert "analytics_shadow.half_mv" in left
    assert not deploy.is_deployed(bench.settings)
    with postgres.connect(bench.settings) as other, leftovers.lock(other):
        assert leftovers.find(bench.settings) == []  # a deployment is under way

    said: list[str] = []
    assert not deploy.deploy(bench.settings, say=said.append).changed

    assert "half_mv" in said[0]
    assert leftovers.find(bench.settings) == []
    assert deploy.is_deployed(bench.settings)


def test_a_withdrawn_rollup_is_filled_anew_by_the_next_deployment(bench: Bench) -> None:
    bench.client.command("DROP VIEW analytics.page_views_1h_mv SYNC")
    with postgres.connect(bench.settings) as ledger:
        ledger.execute(
            "INSERT INTO withdrawn_views (view, rollups, definition, error, batch_id) VALUES"
            " ('analytics.page_views_1h_mv', %s, '', 'Cannot parse Int64', 1),"
            " ('analytics_shadow.x_mv', '{}', '', 'an earlier deployment''s', 1)",
            [["analytics.page_views_1h", "analytics.page_views_1d"]],
        )
        bench.publish(bench.make(50, TODAY - timedelta(hours=1), TODAY))
        (left,) = leftovers.find(bench.settings)
        assert "page_views_1h_mv" in left
        assert "Cannot parse Int64" in left
        assert not deploy.is_deployed(bench.settings)
        assert standing.differences(bench.settings) == []
        release = project.deployed(bench.settings).resolve().name
        leftovers.note_try(ledger, release)
        with pytest.raises(deploy.DeploymentError, match="has not changed since the last try"):
            deploy.deploy(bench.settings, is_retry=False)

        done = deploy.deploy(bench.settings)

        assert {"page_views_1h", "page_views_1d"} <= set(done.built)
        assert "page_views_1min" not in done.built
        assert ledger.execute("SELECT FROM withdrawn_views").fetchall() == []
    check_rollups(bench)
    bench.publish(bench.make(50, TODAY - timedelta(hours=1), TODAY))
    check_rollups(bench)
    assert deploy.is_deployed(bench.settings)


def test_a_warehouse_that_is_not_as_it_was_deployed_is_noticed(bench: Bench) -> None:
    deployed = project.deployed(bench.settings)
    variables = project.environment(bench.settings, project.PRODUCTION, project=deployed)
    project.run(["run"], variables)  # as build_models does
    assert standing.differences(bench.settings) == []
    ((select,),) = bench.rows(
        "SELECT as_select FROM system.tables WHERE database = 'analytics'"
        " AND name = 'metrics_5min_mv'"
    )
    alter = "ALTER TABLE analytics.metrics_5min_mv MODIFY QUERY "
    bench.client.command(alter + str(select).replace("sum(", "2 * sum("))
    assert standing.differences(bench.settings) == ["metrics_5min_mv is not as it was deployed"]
    assert not deploy.is_deployed(bench.settings)
    bench.client.command(alter + str(select))
    bench.client.command("ALTER TABLE analytics.metrics_1h ADD COLUMN more UInt8")
    assert standing.differences(bench.settings) == ["metrics_1h is not as it was deployed"]
    bench.client.command("ALTER TABLE analytics.metrics_1h DROP COLUMN more")
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

    bench.settings = longer  # for the tests that follow, rather than to build all of it once more
    kept = "SELECT create_table_query FROM system.tables WHERE database = 'analytics'"
    for name in ("int_user_activity_versions", "metrics_1min"):
        ((statement,),) = bench.rows(f"{kept} AND name = '{name}'")
        assert "toIntervalDay(400)" in str(statement)
    assert bench.rows(query) == before


def test_a_metric_is_added_as_the_manual_says(
    bench: Bench, changed: Callable[[str, str, str], Path], repository: Path
) -> None:
    manual = (repository / "docs" / "analysts.md").read_text().split("## Add a metric")[1]
    branch = manual.split("```sql\n")[1].split("```")[0]
    entry = textwrap.indent(manual.split("```yaml\n")[1].split("```")[0], " " * 10)
    folder, end = "models/marts/metrics", "    columns:\n      - name: timestamp\n"
    source = changed(f"{folder}/_metrics__models.yml", end, entry + end)
    with (source / folder / "metrics.sql").open("a") as file:
        file.write(branch)
    expected = (
        "SELECT toDate(event_time), count() FROM events"
        " WHERE event_type = 'page_view' AND startsWith(page, '/product') GROUP BY 1 ORDER BY 1"
    )
    found = (
        "SELECT toDate(timestamp), toUInt64(sum(value)) FROM analytics.metrics"
        " WHERE metric_name = 'product_views' GROUP BY 1 ORDER BY 1"
    )

    done = deploy.deploy(bench.settings, source)

    assert "metrics_1min" not in done.built  # the rollup itself has not changed
    past = bench.rows(found)
    assert past == bench.rows(expected)
    bench.publish(bench.make(200, TODAY - timedelta(hours=1), TODAY))
    assert bench.rows(found) == bench.rows(expected) != past
    defined = "SELECT unit, dimensions FROM analytics.metric_definitions WHERE metric_name ="
    assert bench.rows(f"{defined} 'product_views'") == [("views", ["country", "device"])]


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
    page = docs.page(bench.settings).read_text()
    stored = objects.connect(bench.settings).get_object(bench.settings.s3_bucket, docs.OBJECT)
    assert stored.read().decode() == page
    assert all(name in page for name in done.built)
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


def test_models_are_written_in_the_project_style(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    assert project.lint(bench.settings, []) == 0, capfd.readouterr().out


def test_every_column_that_the_project_names_is_one_that_there_is(bench: Bench) -> None:
    assert dbt_columns.missing(bench.settings, project.SOURCE) == {}


def test_a_column_renamed_in_staging_is_missed_by_name(
    bench: Bench, changed: Callable[[str, str, str], Path]
) -> None:
    source = changed("macros/event_columns.sql", "event_type,", "event_type as kind,")

    missing = dbt_columns.missing(bench.settings, source)

    assert "event_type" in missing["int_session_versions"]
    assert "event_type" in missing["int_user_activity_versions"]
    assert "int_unique_user_versions_5min" not in missing  # it reads other columns
