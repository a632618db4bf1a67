"""From samples to messages, on the real stores: exact across reruns, crashes and dead channels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.alerts_world import LOAD, MINUTE, ROUTES, START, World, rule

from millrace.alerts import acknowledgement, check, outbox, pipeline, repository
from millrace.alerts.evaluation import Evaluator
from millrace.alerts.model import Inhibition, Result, Rule
from millrace.alerts.replay import replay
from millrace.contract import locks
from millrace.lab.channels import Channels, serving
from millrace.settings import Settings


@pytest.fixture
def channels() -> Iterator[Channels]:
    with serving() as running:
        yield running
        assert not running.refused


@pytest.fixture
def world(settings: Settings, channels: Channels) -> World:
    return World(settings, channels)


def test_one_message_to_each_channel_and_one_when_it_is_over(
    world: World, channels: Channels
) -> None:
    repository.save_rule(world.connection, rule())
    for minute in range(12):
        world.sample(minute, 50 if 3 <= minute < 8 else 1)
        world.judge(minute)
        world.judge(minute)  # a rerun changes nothing
        world.deliver()
    assert world.told() == [
        ("chat", "trigger"), ("pager", "trigger"), ("chat", "resolve"), ("pager", "resolve"),
    ]  # fmt: skip
    first, last = channels.slack_messages
    assert "Load of a is 50" in first["text"]
    text = json.dumps(first["attachments"])
    assert "fires when &gt; 10" in text
    assert "https://runbooks.example.com/load" in text
    assert "http://airflow.example.com/run" in text
    assert "slack_file" in text
    assert b"\x89PNG" in next(iter(channels.slack_files.values()))
    assert last["thread_ts"] == first["ts"]
    assert [event["event_action"] for event in channels.pagerduty_events] == ["trigger", "resolve"]
    assert len({event["dedup_key"] for event in channels.pagerduty_events}) == 1


def test_minutes_missed_are_judged_afterwards_with_the_same_outcome(world: World) -> None:
    repository.save_rule(world.connection, rule())
    for minute in range(12):
        world.sample(minute, 50 if 3 <= minute < 8 else 1)
    world.judge(0)
    summary = world.judge(11)
    assert len(summary.minutes) == 11
    changes = world.connection.execute(
        "SELECT to_state, evaluated_at FROM alert_transitions ORDER BY evaluated_at"
    ).fetchall()
    assert [(row["to_state"], row["evaluated_at"]) for row in changes] == [
        ("pending", START + 3 * MINUTE),
        ("firing", START + 4 * MINUTE),
        ("resolved", START + 8 * MINUTE),
    ]


def test_catching_up_keeps_what_was_settled_before_it_was_cut_short(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.save_rule(world.connection, rule())
    world.judge(0)
    for minute in range(35):
        world.sample(minute, 50 if 3 <= minute < 28 else 1)
    original = Evaluator.evaluate

    def cut(
        self: Evaluator, rules: Sequence[Rule], first: datetime, last: datetime
    ) -> dict[datetime, dict[str, Result]]:
        if first > START + 20 * MINUTE:
            raise TimeoutError("the task's time is up")
        return original(self, rules, first, last)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "evaluate", cut)
        with pytest.raises(TimeoutError):
            world.judge(34)
    assert world.told() == [("chat", "trigger"), ("pager", "trigger")]
    assert world.judge(34).minutes[0] == START + 21 * MINUTE
    assert world.told()[2:] == [("chat", "resolve"), ("pager", "resolve")]


def test_a_second_run_leaves_the_minutes_to_the_first(world: World) -> None:
    repository.save_rule(world.connection, rule())
    world.judge(0)
    with locks.alone(world.connection, locks.ALERTS):
        assert str(world.judge(5)) == "another run is judging"
    assert len(world.judge(5).minutes) == 5


def test_a_route_that_is_switched_off_still_tells_the_end(world: World, channels: Channels) -> None:
    repository.save_rule(world.connection, rule(for_seconds=0))
    world.judge(0)
    world.sample(1, 50)
    world.judge(1)
    world.deliver()
    for route in ROUTES:
        repository.save_route(world.connection, replace(route, is_active=False))
    world.sample(2, 50, host="another")
    world.sample(2, 50)
    world.judge(2)
    world.sample(3, 1)
    world.judge(3)
    world.deliver()
    assert [event["event_action"] for event in channels.pagerduty_events] == ["trigger", "resolve"]
    assert len({event["dedup_key"] for event in channels.pagerduty_events}) == 1
    assert [m["text"][:9] for m in channels.slack_messages] == ["Load of a", "Resolved:"]


def test_what_events_say_means_nothing_to_slack(world: World, channels: Channels) -> None:
    repository.save_rule(world.connection, rule(for_seconds=0, routes=["chat"]))
    world.judge(0)
    world.sample(1, 50, host="<!channel> <https://evil.example.com|a link> & more")
    world.judge(1)
    world.deliver()
    [message] = channels.slack_messages
    assert "&lt;!channel&gt; &lt;https://evil.example.com|a link&gt; &amp; more" in message["text"]
    for part in (message["text"], json.dumps(message["attachments"][0]["fallback"])):
        assert "<" not in part
    sections = [b for b in message["attachments"][0]["blocks"] if b["type"] == "section"]
    assert "<!channel>" not in json.dumps(sections)


def test_catching_up_has_a_bound(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.save_rule(world.connection, rule())
    world.judge(0)
    monkeypatch.setattr(check, "MOST_MISSED", 5)
    late = START + 30 * MINUTE + timedelta(seconds=world.settings.alert_delay_seconds)
    summary = check.run(world.settings, now=late)
    assert (len(summary.minutes), summary.skipped) == (5, 25)


def test_a_crash_before_the_commit_leaves_nothing_and_the_next_run_does_it_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.save_rule(world.connection, rule(for_seconds=0))
    world.judge(0)
    world.sample(1, 50)
    with monkeypatch.context() as patch:
        patch.setattr(
            repository, "save_notification", lambda *_: (_ for _ in ()).throw(RuntimeError("died"))
        )
        with pytest.raises(RuntimeError, match="died"):
            world.judge(1)
    assert world.told() == []
    assert not repository.load_instances(world.connection)
    world.judge(1)
    assert world.told() == [("chat", "trigger"), ("pager", "trigger")]


def test_no_data_is_an_alert_of_its_own(world: World) -> None:
    repository.save_rule(world.connection, rule(no_data_for_seconds=120))
    # The table gives a rule its time of creation; samples are demanded from then on.
    world.connection.execute("UPDATE alert_rules SET created_at = %s", [START - MINUTE])
    world.sample(0, 1)
    for minute in range(12):
        world.judge(minute)
    instances = list(repository.load_instances(world.connection).values())
    assert [(i.kind, i.state) for i in instances] == [("no_data", "firing")]
    kept = world.warehouse.query(
        "SELECT status, count() FROM alert_evaluations FINAL GROUP BY status ORDER BY status"
    ).result_rows
    assert dict(kept) == {"ok": 5, "no_data": 7}


def test_a_broken_rule_is_its_own_trouble(world: World) -> None:
    many_to_many = f"{LOAD} * on () {LOAD} > 0"
    repository.save_rule(world.connection, rule(name="broken", expression=many_to_many))
    repository.save_rule(world.connection, rule(for_seconds=0))
    world.judge(0)
    world.sample(1, 50)
    world.sample(1, 50, host="b")
    summary = world.judge(1)
    assert "many-to-many" in summary.errors["broken"]
    assert ("chat", "trigger") in world.told()


def test_a_pipeline_that_is_down_inhibits_what_follows(world: World) -> None:
    repository.save_rule(world.connection, rule(for_seconds=0))
    down = rule(name="down", expression="millrace_test_up == 0", for_seconds=0)
    repository.save_rule(world.connection, down)
    inhibition = Inhibition("down", ['alertname="down"'], ['alertname="load_high"'])
    world.connection.execute(
        "INSERT INTO alert_inhibitions VALUES (%s, %s, %s, %s)",
        [inhibition.name, inhibition.source, inhibition.target, inhibition.equal],
    )
    world.judge(0)
    world.sample(1, 50)
    world.sample(1, 0, name="millrace_test_up")
    world.judge(1)
    rows = world.connection.execute("SELECT content FROM alert_notifications").fetchall()
    assert {alert["rule"] for row in rows for alert in row["content"]["firing"]} == {"down"}


@pytest.mark.parametrize("fault", ["500", "429", "400", "hang", "cut_before", "cut_after"])
def test_a_channel_in_trouble_delays_nothing_else_and_gets_its_message_later(
    world: World, channels: Channels, fault: Any
) -> None:
    repository.save_rule(world.connection, rule(for_seconds=0))
    world.judge(0)
    world.sample(1, 50)
    world.judge(1)
    channels.fail("slack", fault)
    delivery = world.deliver()
    assert delivery.sent == {"pager": 1}
    assert "chat" in delivery.failed
    assert world.deliver().sent == {}  # it waits its turn
    waiting = world.connection.execute(
        "SELECT * FROM alert_notifications WHERE state = 'waiting'"
    ).fetchall()
    assert [row["route"] for row in waiting] == ["chat"]
    if fault == "429":
        assert waiting[0]["not_before"] - datetime.now(UTC) > timedelta(seconds=5)
    world.retry_now()
    assert world.deliver().sent == {"chat": 1}
    assert len(channels.slack_messages) == 1


@pytest.mark.parametrize("fault", ["500", "429", "hang", "cut_before", "cut_after"])
def test_pagerduty_in_trouble_gets_one_incident(
    world: World, channels: Channels, fault: Any
) -> None:
    repository.save_rule(world.connection, rule(for_seconds=0, routes=["pager"]))
    world.judge(0)
    world.sample(1, 50)
    world.judge(1)
    channels.fail("pagerduty", fault)
    world.deliver()
    world.retry_now()
    world.deliver()
    assert len({event["dedup_key"] for event in channels.pagerduty_events}) == 1
    states = world.connection.execute("SELECT state FROM alert_notifications").fetchall()
    assert [row["state"] for row in states] == ["sent"]


def test_a_resolution_waits_for_its_trigger(world: World, channels: Channels) -> None:
    repository.save_rule(world.connection, rule(for_seconds=0, routes=["chat"]))
    world.judge(0)
    world.sample(1, 50)
    world.judge(1)
    channels.fail("slack", "500")
    world.deliver()
    world.sample(2, 1)
    world.judge(2)
    assert world.deliver().sent == {}
    world.retry_now()
    world.deliver()
    assert [m["text"][:9] for m in channels.slack_messages] == ["Load of a", "Resolved:"]


def test_what_a_channel_refuses_for_ever_holds_up_no_other(world: World) -> None:
    repository.save_route(world.connection, replace(ROUTES[0], group_by=["host"]))
    repository.save_rule(world.connection, rule(for_seconds=0, routes=["chat"]))
    refused = [f"refused {number}" for number in range(outbox.FAILURE_LIMIT)]

    def send(message: outbox.Message) -> dict[str, Any]:
        if message.content["group"]["host"] in refused:
            raise outbox.DeliveryError("invalid_blocks")
        return {}

    world.judge(0)
    for host in refused:
        world.sample(1, 50, host)
    world.judge(1)
    outbox.deliver(world.settings, {"slack": send})
    world.sample(2, 50, "taken")
    world.judge(2)
    world.retry_now()
    assert outbox.deliver(world.settings, {"slack": send}).sent == {"chat": 1}


def test_two_deliverers_send_once(world: World, channels: Channels) -> None:
    repository.save_rule(world.connection, rule(for_seconds=0, routes=["chat"]))
    world.judge(0)
    world.sample(1, 50)
    world.judge(1)
    query = repository.query("claim_notification")
    arguments = {"route": "chat", "lease": outbox.LEASE}
    assert world.connection.execute(query, arguments).fetchone() is not None
    assert world.deliver().sent == {}
    assert not channels.slack_messages


def test_acknowledging_tells_pagerduty_on_the_same_key(world: World, channels: Channels) -> None:
    repository.save_rule(world.connection, rule(for_seconds=0, routes=["pager"]))
    world.judge(0)
    world.sample(1, 50)
    world.judge(1)
    assert acknowledgement.acknowledge(world.connection, "load_high", "me", "on it") == 1
    assert acknowledgement.acknowledge(world.connection, "load_high", "me", "again") == 0
    world.sample(2, 1)
    world.judge(2)
    world.deliver()
    actions = [event["event_action"] for event in channels.pagerduty_events]
    assert actions == ["trigger", "acknowledge", "resolve"]
    assert len({event["dedup_key"] for event in channels.pagerduty_events}) == 1


def test_a_replay_says_when_it_would_have_fired_and_changes_nothing(world: World) -> None:
    for minute in range(30):
        world.sample(minute, 50 if 10 <= minute < 20 else 1)
    with Evaluator(world.settings) as evaluator:
        found = replay(evaluator, rule(), START, START + 29 * MINUTE)
    assert [(t.to_state, t.evaluated_at) for t in found.transitions] == [
        ("pending", START + 10 * MINUTE),
        ("firing", START + 11 * MINUTE),
        ("resolved", START + 20 * MINUTE),
    ]
    assert world.told() == []


def test_every_change_of_a_rule_is_audited(world: World) -> None:
    repository.act_as(world.connection, "alice")
    repository.save_rule(world.connection, rule())
    repository.save_rule(world.connection, rule(severity="info"))
    rows = world.connection.execute(
        "SELECT action, changed_by, old_value ->> 'severity' AS was FROM audit_logs "
        "WHERE table_name = 'alert_rules' AND changed_by = 'alice' ORDER BY audit_id DESC LIMIT 2"
    ).fetchall()
    assert [(row["action"], row["was"]) for row in rows] == [
        ("UPDATE", "critical"),
        ("INSERT", None),
    ]


def test_a_value_without_bounds_is_told_like_any_other(world: World, channels: Channels) -> None:
    repository.save_rule(world.connection, rule(expression=f"{LOAD} / 0 > 1", for_seconds=0))
    world.judge(0)
    world.sample(1, 50)
    world.judge(1)
    world.judge(2)
    world.deliver()
    assert world.told() == [("chat", "trigger"), ("pager", "trigger")]
    details = channels.pagerduty_events[0]["payload"]["custom_details"]
    assert details["firing"][0]["value"] == "+Inf"


def test_the_pipeline_is_sampled(world: World) -> None:
    assert pipeline.collect(world.settings, START) >= 1
    assert pipeline.collect(world.settings, START) >= 1
    up = world.warehouse.query(
        "SELECT value FROM pipeline_metrics FINAL WHERE metric_name = 'millrace_kafka_up'"
    ).result_rows
    assert up == [(1.0,)]


def test_labels_that_can_not_be_stored_stop_no_alert(world: World, channels: Channels) -> None:
    repository.save_rule(world.connection, rule())
    odd = ["a\0b", "a\ufffdb", "n" * 9_000]
    for minute in range(8):
        for host in [*odd, "plain"]:
            world.sample(minute, 50 if 1 <= minute < 5 else 1, host)
        world.judge(minute)
        world.deliver()
    assert world.told() == [
        ("chat", "trigger"), ("pager", "trigger"), ("chat", "resolve"), ("pager", "resolve"),
    ]  # fmt: skip
    rows = world.connection.execute(
        "SELECT labels, array_agg(to_state ORDER BY evaluated_at) AS states "
        "FROM alert_transitions GROUP BY labels"
    ).fetchall()
    assert len(rows) == 3
    assert {len(row["labels"]["host"]) for row in rows} == {3, 5, 2_048}
    for row in rows:
        assert row["states"] == ["pending", "firing", "resolved"]
    assert len(channels.slack_messages) == 2
