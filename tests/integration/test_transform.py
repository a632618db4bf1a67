"""The dbt project on the real engine, held against plain Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from tests.helpers import dbt_columns, wait
from tests.integration.transform_bed import GAP, HOUR, TODAY, Bench, check_models, check_rollups

from millrace.lab.verify import models, rollups
from millrace.lab.verify.warehouse import Warehouse
from millrace.settings import Settings
from millrace.stores import postgres, sql
from millrace.transform import deploy, project, sandbox, watermark
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
    for model in ("funnels_daily", "active_users_daily"):
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
    deploy_models.deploy_apart(bench.settings, environment(bench.settings))  # everything again
    assert deploy.is_deployed(bench.settings)
    bench.build()
    assert differences() == [0, 0]


def test_building_again_changes_nothing(bench: Bench) -> None:
    bench.build()
    check_models(bench)


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
        select = ["--select", "metrics_1min+", "sessions+", "int_funnel_versions+"]
        assert project.pass_through(bench.settings, ["build", *select], project.SANDBOX) == 0
        database = project.sandbox_database()
        assert bench.rows(f"SELECT sum(events) FROM {database}.metrics_1h") == bench.rows(
            f"SELECT count() FROM {database}.events"
        )
        missing = ["run", "--select", "no_such_model", "--warn-error"]
        assert project.pass_through(bench.settings, missing, project.SANDBOX) != 0
    finally:
        bench.client.command(f"DROP DATABASE {project.sandbox_database()} SYNC")


def test_a_sample_that_was_cut_off_is_taken_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    database = project.sandbox_database()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(project, "run", die)
            with pytest.raises(Killed):
                sandbox.sample(bench.settings)
        sandbox.ensure(bench.settings)
        events = bench.rows(f"SELECT count() FROM {database}.events")
        assert bench.rows(f"SELECT sum(events) FROM {database}.metrics_1h") == events

        bench.client.command(f"CREATE VIEW {database}.of_mine AS SELECT 1")
        sandbox.ensure(bench.settings)
        assert bench.rows(f"SELECT * FROM {database}.of_mine") == [(1,)], "a whole one was replaced"
    finally:
        bench.client.command(f"DROP DATABASE IF EXISTS {database} SYNC")


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
