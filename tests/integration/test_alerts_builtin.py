"""The built-in rules: what they fire on, and that no data never counts as fine."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from tests.integration.alerts_world import LOAD, MINUTE, START, World
from tests.integration.alerts_world import rule as a_rule

from millrace.alerts import check, pipeline, repository, rules
from millrace.alerts.evaluation import Evaluator
from millrace.alerts.model import Rule
from millrace.alerts.replay import Replay, replay
from millrace.lab.channels import Channels
from millrace.settings import Settings
from millrace.stack import connections
from millrace.stores import clickhouse

LONG_AGO = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=400)
"""A time from which nobody has samples."""

BACKUP, TARGET = (
    "millrace_backup_last_success_timestamp_seconds",
    "millrace_backup_target_age_seconds",
)


@pytest.fixture
def world(settings: Settings) -> World:
    return World(settings, Channels(""))


@pytest.fixture
def metrics(settings: Settings) -> Iterator[None]:
    """See to the view that dbt builds, empty where it has not been built."""
    client = clickhouse.connect(settings)
    client.command("CREATE DATABASE IF NOT EXISTS analytics")
    is_built = client.command("EXISTS TABLE analytics.metrics")
    if not is_built:
        client.command(
            "CREATE VIEW analytics.metrics AS SELECT timestamp, metric_name, value, dimensions "
            "FROM pipeline_metrics WHERE false"
        )
        client.command(
            "CREATE VIEW analytics.metric_definitions AS "
            "SELECT 'events' AS metric_name, toUInt32(60) AS grain_seconds, true AS is_sampled"
        )
    yield
    if not is_built:
        client.command("DROP VIEW analytics.metrics")
        client.command("DROP VIEW analytics.metric_definitions")
    client.close()


@pytest.fixture(scope="module")
def built_in() -> dict[str, Rule]:
    return {rule.name: rule for rule in rules.load_seeds()[2]}


def played(world: World, rule: Rule, minutes: int) -> Replay:
    """Replay a rule over minutes from START."""
    with Evaluator(world.settings) as evaluator:
        return replay(evaluator, rule, START, START + minutes * MINUTE)


def states(found: Replay) -> list[tuple[str, str, str]]:
    """Return what a replay changed: kind, state, and what the alert is about."""
    said = ("kind", "dag_id", "task_id", "metric")
    return [
        (i.kind, t.to_state, ".".join(i.labels[name] for name in said if name in i.labels))
        for t in found.transitions
        for i in [t.instance]
    ]


def test_without_any_sample_no_rule_says_fine(world: World, metrics: None) -> None:
    world.connection.execute("TRUNCATE alert_routes")
    rules.seed(world.connection)
    long_before = LONG_AGO - timedelta(days=90)
    world.connection.execute("UPDATE alert_rules SET created_at = %s", [long_before])
    found = check.run(world.settings, now=LONG_AGO)
    assert not found.errors
    instances = repository.load_instances(world.connection).values()
    active = {i.rule_name for i in instances if i.kind == "condition"}
    assert active == {"no_events", "backup_missing"}
    everything = {rule.name for rule in repository.load_rules(world.connection)}
    assert everything - active - found.no_data.keys() == {"dag_failed", "rule_failing"}
    ignored = {r.name for r in repository.load_rules(world.connection) if r.no_data == "ignore"}
    told = {i.rule_name for i in instances if i.kind == "no_data"}
    assert told == everything - active - ignored


def test_a_backup_that_is_late_fires_for_its_kind(world: World, built_in: dict[str, Rule]) -> None:
    rule = built_in["backup_late"]
    for kind, age in (("warehouse", 7000.0), ("wal", 30.0)):
        done = START.timestamp() - age
        at = START - timedelta(seconds=age)
        samples = [(BACKUP, done, {"kind": kind}), (TARGET, 7200.0, {"kind": kind})]
        pipeline.write(world.settings, at, samples)
    found = played(world, rule, 20)
    assert states(found) == [
        ("condition", "pending", "warehouse"), ("condition", "firing", "warehouse"),
    ]  # fmt: skip
    assert found.transitions[0].evaluated_at == START + 4 * MINUTE
    assert found.minutes_without_data == 0
    at = START + 10 * MINUTE
    pipeline.write(world.settings, at, [(BACKUP, at.timestamp(), {"kind": "warehouse"})])
    assert states(played(world, rule, 20))[-1] == ("condition", "resolved", "warehouse")


def test_a_backup_that_never_was_is_missing(world: World, built_in: dict[str, Rule]) -> None:
    for kind in ("warehouse", "wal"):
        samples = [(BACKUP, START.timestamp(), {"kind": kind})]
        pipeline.write(world.settings, START - MINUTE, samples)
    found = played(world, built_in["backup_missing"], 27 * 60)
    assert states(found) == [
        ("condition", "pending", "metadata"), ("condition", "firing", "metadata"),
    ]  # fmt: skip
    assert found.transitions[1].evaluated_at == START + timedelta(hours=26)


def test_a_drill_is_judged_by_its_last_result(world: World, built_in: dict[str, Rule]) -> None:
    rule, name = built_in["restore_drill_failed"], "millrace_restore_drill_success"
    assert played(world, rule, 0).minutes_without_data == 1
    for days, worked in ((6, 0.0), (3, 1.0)):
        at = START - timedelta(days=days)
        pipeline.write(world.settings, at, [(name, worked, {"kind": "warehouse"})])
    assert states(played(world, rule, 1)) == []
    at = START + 2 * MINUTE
    pipeline.write(world.settings, at, [(name, 0.0, {"kind": "metadata"})])
    assert states(played(world, rule, 3))[-1] == ("condition", "firing", "metadata")


def test_an_hourly_metric_is_no_gap_between_its_hours(
    world: World, built_in: dict[str, Rule]
) -> None:
    rule = built_in["quality_target_missed"]
    names = ("millrace_quality_ratio", "millrace_quality_target_ratio")
    for ratio, target, metric in ((0.9, 0.99, "timeliness"), (1.0, 1.0, "uniqueness")):
        labels = {"source_id": "events", "metric": metric}
        samples = [(names[0], ratio, labels), (names[1], target, labels)]
        pipeline.write(world.settings, START, samples)
    found = played(world, rule, 135)
    assert states(found) == [
        ("condition", "firing", "timeliness"),
        ("no_data", "pending", ""),
        ("no_data", "firing", ""),
    ]
    assert found.minutes_without_data == 16
    assert [i.kind for i in found.at_end] == ["condition", "no_data"]


@pytest.fixture
def listener(world: World, repository: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The plugin's hooks; what they count is counted when they return."""
    monkeypatch.syspath_prepend(str(repository / "plugins"))
    sys.modules.pop("millrace_failures", None)
    import millrace_failures as plugin

    for name, connection in connections.wanted(world.settings).items():
        connection["extra"] = json.loads(connection["extra"])
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))

    def ended(task_id: str, state: str, run_type: str = "scheduled") -> None:
        task = SimpleNamespace(
            dag_id="build_models", task_id=task_id, state=state, run_id=f"{run_type}__1"
        )
        plugin.on_task_instance_failed(None, task, None)

    def run_failed(run_type: str = "scheduled") -> None:
        plugin.on_dag_run_failed(SimpleNamespace(dag_id="build_models", run_type=run_type), "")
        for thread in threading.enumerate():
            if thread.name == plugin.THREAD:
                thread.join()

    return SimpleNamespace(task_ended=ended, run_failed=run_failed)


def test_a_model_that_fails_alerts_though_its_run_succeeds(
    world: World, built_in: dict[str, Rule], listener: SimpleNamespace
) -> None:
    now = check.floor_minute(datetime.now(UTC))
    with Evaluator(world.settings) as evaluator:
        listener.task_ended("deploy", "up_for_retry")
        listener.task_ended("make_file", "failed", "manual")  # a form, whose sender sees it
        listener.run_failed("manual")
        rule = built_in["dag_failed"]
        assert states(replay(evaluator, rule, now, now + 2 * MINUTE)) == []
        listener.task_ended("deploy", "failed")
        found = replay(evaluator, rule, now, now + 2 * MINUTE)
        assert states(found) == [("condition", "firing", "build_models.deploy")]
        listener.run_failed()  # the same failure again, seen from its run
        assert states(replay(evaluator, rule, now, now + 2 * MINUTE)) == states(found)


def test_a_run_that_fails_without_a_failed_task_alerts(
    world: World, built_in: dict[str, Rule], listener: SimpleNamespace
) -> None:
    now = check.floor_minute(datetime.now(UTC))
    listener.run_failed()
    with Evaluator(world.settings) as evaluator:
        found = replay(evaluator, built_in["dag_failed"], now, now + 2 * MINUTE)
    assert states(found) == [("condition", "firing", "build_models")]


def test_a_rule_that_fails_is_told_until_it_is_mended(
    world: World, built_in: dict[str, Rule]
) -> None:
    repository.save_rule(
        world.connection, a_rule(name="broken", expression=f"{LOAD} * on () {LOAD} > 0")
    )
    world.judge(0)
    for minute in (1, 6):
        for host in ("a", "b"):
            world.sample(minute, 50, host)
    assert "broken" in world.judge(6).errors
    found = played(world, built_in["rule_failing"], 20)
    told = [(t.to_state, t.instance.labels["rule"]) for t in found.transitions]
    assert told == [("firing", "broken"), ("resolved", "broken")]


def stored(world: World, name: str) -> Rule:
    return next(r for r in repository.load_rules(world.connection) if r.name == name)


def test_seeding_keeps_what_an_operator_chose(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.connection.execute("TRUNCATE alert_routes")
    assert len(rules.seed(world.connection).changed) >= 15
    for change in (
        "is_active = false WHERE name = 'no_events'",
        "for_seconds = 900 WHERE name = 'ingest_freshness'",
    ):
        world.connection.execute(f"UPDATE alert_rules SET {change}")
    again = rules.seed(world.connection)
    assert (again.changed, again.kept) == ([], ["ingest_freshness"])
    assert not caplog.records  # what is shipped has not changed: nothing to say

    document = yaml.safe_load(rules.SEEDS.read_text())
    for rule in document["rules"]:
        if rule["name"] in ("no_events", "ingest_freshness"):
            rule["for"] = "7m"
    newer = tmp_path / "rules.yaml"
    newer.write_text(yaml.safe_dump(document))
    with caplog.at_level(logging.WARNING):
        upgrade = rules.seed(world.connection, newer)
    assert (upgrade.changed, upgrade.kept) == (["no_events"], ["ingest_freshness"])
    assert "ingest_freshness was changed here" in caplog.text
    assert (stored(world, "no_events").for_seconds, stored(world, "no_events").is_active) == (
        420,
        False,
    )
    assert stored(world, "ingest_freshness").for_seconds == 900

    back = rules.seed(world.connection, newer, reset=["ingest_freshness"])
    assert (back.changed, back.kept) == (["ingest_freshness"], [])
    assert stored(world, "ingest_freshness").for_seconds == 420
    trail = world.connection.execute(
        "SELECT changed_by, new_value ->> 'for_seconds' AS waits FROM audit_logs "
        "WHERE table_name = 'alert_rules' AND old_value ->> 'name' = 'ingest_freshness' "
        "ORDER BY audit_id DESC LIMIT 1"
    ).fetchone()
    assert trail == {"changed_by": "seed", "waits": "420"}
