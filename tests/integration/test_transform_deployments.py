"""Deployments of the dbt project: what is tried apart, swapped in, left over and noticed."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from tests.helpers.plain_models import Event
from tests.integration.transform_bed import TODAY, Bench, check_rollups, deploy_untested

from millrace.exports import definitions
from millrace.stores import objects, postgres
from millrace.transform import deploy, docs, leftovers, project, standing
from millrace.transform.manifest import models
from millrace.usecases import deploy_models

MANIFEST = "target/manifest.json"

VIEWS_OF_THE_SHADOW = (
    "SELECT name FROM system.tables WHERE database = 'analytics_shadow' AND engine LIKE '%View'"
)


def test_a_broken_model_is_not_deployed(
    bench: Bench, changed: Callable[[str, str, str], Path]
) -> None:
    source = changed("models/marts/traffic/top_pages.sql", "sum(page_views)", "0 * sum(page_views)")
    before = bench.rows("SELECT * FROM analytics.top_pages ORDER BY ALL")

    with pytest.raises(deploy.DeploymentError, match="positive_top_pages_page_views"):
        deploy.deploy(bench.settings, source)

    assert bench.rows("SELECT * FROM analytics.top_pages ORDER BY ALL") == before
    assert deploy.is_deployed(bench.settings)


def test_a_column_that_an_expectation_names_is_not_renamed(
    bench: Bench, changed: Callable[[str, str, str], Path]
) -> None:
    changed(
        "models/marts/traffic/_traffic__models.yml",
        "{name: page_views, description: Views.,",
        "{name: views, description: Views.,",
    )
    source = changed(
        "models/marts/traffic/top_pages.sql",
        "sum(page_views) as page_views",
        "sum(page_views) as views",
    )
    with pytest.raises(deploy.DeploymentError) as refused:
        deploy_models.deploy_models(bench.settings, source)
    told = str(refused.value)
    assert "expectations of top_pages: Every row counts at least one.: " in told
    assert "expectations of top_pages: The table counts as many page views" in told
    assert "Every day and page has one row" not in told  # it names other columns
    assert bench.rows("SELECT count() > 0 FROM analytics.top_pages WHERE page_views > 0") == [(1,)]
    assert deploy.is_deployed(bench.settings)


def test_expectations_and_exports_fit_what_is_deployed(bench: Bench) -> None:
    definitions.apply(bench.settings)
    names = [f"analytics.{m.name}" for m in models(project.deployed(bench.settings) / MANIFEST)]
    misfits = partial(deploy_models.misfits, bench.settings)
    assert misfits(dict(zip(names, names, strict=True))) == []
    assert misfits({"analytics.sessions": "analytics.gone"})[0].startswith(
        "expectations of sessions: "
    )
    other = misfits({"analytics.metrics_1h": "analytics.page_views_1h"})
    assert [one for one in other if one.startswith("export metrics_1h: ")]


def test_a_dimension_outside_the_sorting_key_is_refused(
    bench: Bench, changed: Callable[[str, str, str], Path]
) -> None:
    columns = "as fresh as they are and pays only for what is inserted.\n    columns:\n"
    changed(
        "models/marts/metrics/_metrics__models.yml",
        columns,
        columns + "      - {name: plan, data_type: String}\n",
    )
    changed(
        "models/marts/metrics/metrics_1min.sql",
        "country,\n    device,\n",
        "country,\n    device,\n    properties['plan'] as plan,\n",
    )
    source = changed(
        "models/marts/metrics/metrics_1min.sql",
        "group by window_start, event_type, country, device\n",
        "group by all\n",
    )
    with pytest.raises(deploy.DeploymentError, match="metrics_1min tells its rows apart by plan,"):
        deploy.deploy(bench.settings, source)
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

    assert deploy_untested(bench.settings).changed

    assert bench.rows("SELECT * FROM analytics.metrics_1h FINAL ORDER BY ALL") == before


def test_rollups_are_kept_as_long_as_events(bench: Bench) -> None:
    query = "SELECT * FROM analytics.user_activity_1min ORDER BY ALL"
    before = bench.rows(query)

    longer = bench.settings.model_copy(update={"events_retention_days": 400})
    assert "int_user_activity_versions" in deploy_untested(longer).built

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


def test_rollups_that_ingest_made_good_meanwhile_are_not_swapped_in(
    bench: Bench, changed: Callable[[str, str, str], Path]
) -> None:
    source = changed(
        "models/marts/metrics/metrics_1min.sql",
        "    event_type,\n    country",
        "    event_type,\n    upper(country) as country",
    )
    bench.publish(bench.make(50, TODAY - timedelta(hours=2), TODAY))

    def mend(said: str) -> None:
        if said.startswith("filled"):
            ledger.execute(
                "INSERT INTO ingest_batches (source_id, gate_id, owner, generation, state,"
                " loaded_at) VALUES ('test', 1, 'mender', 1, 'loaded', clock_timestamp())"
            )

    with postgres.connect(bench.settings) as ledger:
        with pytest.raises(deploy.DeploymentError, match="may be counted twice"):
            deploy.deploy(bench.settings, source, say=mend)
        ledger.execute("DELETE FROM ingest_batches WHERE owner = 'mender'")

    assert bench.rows(VIEWS_OF_THE_SHADOW) == []
    check_rollups(bench)


def test_a_changed_rollup_has_its_history_and_misses_no_insert(
    bench: Bench, changed: Callable[[str, str, str], Path]
) -> None:
    file = "models/marts/metrics/metrics_1min.sql"
    source = changed(
        file,
        "    event_type,\n    country",
        "    lower(event_type) as event_type,\n    upper(country) as country",
    )
    changed(
        "models/intermediate/int_funnel_versions.sql", "toUInt64(count())", "uniqExact(user_id)"
    )
    old = TODAY.date() - timedelta(days=500)  # events are kept for 400 days at most
    sums = {
        "metrics_1h": ("window_start, event_type, events", "'a', 7"),
        "int_funnel_versions": ("day, funnel, event_type, step, users", "'a', 'a', 1, 7"),
    }
    for table, (columns, values) in sums.items():
        bench.client.command(
            f"INSERT INTO analytics.{table} ({columns})"
            f" SELECT toDate('{old}') - number, {values} FROM numbers(150)",
            settings={"max_partitions_per_insert_block": 0},
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

    for table, (columns, _values) in sums.items():
        assert table in done.built
        kept = f"FROM analytics.{table} WHERE toDate({columns.split(',')[0]}) <= '{old}'"
        assert bench.rows(f"SELECT count() {kept}") == [(150,)], table
        bench.client.command(f"DELETE {kept}")
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
