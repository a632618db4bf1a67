"""Time in which alerts were not judged, or judged by a clock that was wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.alerts_world import MINUTE, START, World, rule

from millrace.alerts import acknowledgement, pipeline, repository, retention
from millrace.lab.channels import serving
from millrace.settings import Settings


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    with serving() as channels:
        yield World(settings, channels)


def test_a_clock_that_was_wrong_once_stops_nothing(world: World) -> None:
    repository.save_rule(world.connection, rule())
    world.judge(60 * 24 * 365)
    for minute in range(3):
        world.sample(minute, 50)
        assert world.judge(minute).minutes
    assert ("chat", "trigger") in world.told()


def recent_incidents(world: World, minutes_ago: int) -> float:
    """Return what is sampled when alerts were judged up to so long ago."""
    world.connection.execute("DELETE FROM alert_clock")
    world.connection.execute(
        "INSERT INTO alert_clock (evaluated_until) VALUES (now() - %s * interval '1 minute')",
        [minutes_ago],
    )
    at = START + minutes_ago * MINUTE
    pipeline.collect(world.settings, at)
    query = """
        SELECT sum(latest) FROM (
            SELECT argMax(value, recorded_at) AS latest FROM pipeline_metrics
            WHERE timestamp = {at:DateTime} AND metric_name = 'millrace_ingest_recent_incidents'
            GROUP BY labels
        )
    """
    return float(world.warehouse.query(query, parameters={"at": at}).result_rows[0][0])


def test_a_loss_while_nobody_judged_is_told_afterwards(world: World) -> None:
    before = recent_incidents(world, 1), recent_incidents(world, 45)
    world.connection.execute(
        "INSERT INTO ingest_incidents (source_id, kind, topic, topic_incarnation, partition, "
        "first_offset, next_offset, detail, occurred_at) SELECT source_id, 'data_loss', topic, 0, "
        "0, 1, 2, 'unjudged', now() - interval '30 minutes' FROM data_sources LIMIT 1"
    )
    try:
        assert recent_incidents(world, 1) == before[0]
        assert recent_incidents(world, 45) == before[1] + 1
    finally:
        world.connection.execute("DELETE FROM ingest_incidents WHERE detail = 'unjudged'")


def test_history_is_kept_as_long_as_events_and_that_of_open_incidents_longer(
    world: World,
) -> None:
    repository.save_rule(world.connection, rule(for_seconds=0))
    for minute, value in enumerate((1, 50, 1, 50)):  # the second incident stays open
        world.sample(minute, value)
        world.judge(minute)
        world.deliver()
    days = timedelta(days=world.settings.events_retention_days)
    assert retention.expire(world.settings, START + days).startswith("0 notifications and 0 ")
    later = datetime.now(UTC) + days
    assert retention.expire(world.settings, later) == "0 notifications and 3 changes of alerts"
    world.sample(4, 1)
    world.judge(4)
    assert retention.expire(world.settings, later) == "6 notifications and 1 changes of alerts"
    assert world.told() == [("chat", "resolve"), ("pager", "resolve")]  # which wait


def test_an_incident_whose_messages_were_lost_is_acknowledged_and_ends(world: World) -> None:
    """As after a restore, which brings back the open incident and not what was said of it."""
    repository.save_rule(world.connection, rule(for_seconds=0, routes=["pager"]))
    world.judge(0)
    world.sample(1, 50)
    world.judge(1)
    world.deliver()
    world.connection.execute("TRUNCATE alert_notifications")
    assert acknowledgement.acknowledge(world.connection, "load_high", "me", "on it") == 1
    world.sample(2, 1)
    world.judge(2)
    world.deliver()
    actions = [event["event_action"] for event in world.channels.pagerduty_events]
    assert actions == ["trigger", "acknowledge", "resolve"]
