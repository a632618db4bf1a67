"""``./millrace alerts``: what each command does, says, and refuses."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from tests.integration.alerts_world import LOAD, MINUTE, START, World
from typer.testing import CliRunner

from millrace.alerts import repository, routing
from millrace.alerts.model import Rule
from millrace.cli.main import app
from millrace.contract.errors import RuleError
from millrace.lab.channels import Channels, serving
from millrace.settings import Settings

GOOD = {
    "name": "load_high", "expression": f"sum by (host) ({LOAD}) > 10", "for": "2m",
    "severity": "critical", "owner": "me", "runbook": "https://runbooks.example.com/load",
    "routes": ["chat"], "annotations": {"summary": "Load of {{ labels.host }}"},
}  # fmt: skip


@pytest.fixture
def world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("COLUMNS", "250")  # tables are not to be wrapped
    world = World(settings, Channels(""))
    world.connection.execute("TRUNCATE alert_maintenance_windows")
    return world


def alerts(*arguments: str, fails: bool = False) -> str:
    """Run a command; return what it said."""
    done = CliRunner().invoke(app, ["alerts", *arguments])
    assert (done.exit_code != 0) is fails, done.output
    return done.output


def written(folder: Path, *documents: dict[str, object]) -> str:
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump([*documents]))
    return str(path)


def stored(world: World) -> dict[str, Rule]:
    return {rule.name: rule for rule in repository.load_rules(world.connection)}


def test_a_rule_is_added_shown_and_added_again_from_what_was_shown(
    world: World, tmp_path: Path
) -> None:
    said = alerts("add", written(tmp_path, GOOD), "--hours", "1")
    assert "rule load_high: added (critical)\n1 rule saved" in said
    tried = "load_high would have fired 1 time in 61 minutes: condition true in 0, no data in 61"
    assert tried in said  # that there is no data is an alert, too
    before = stored(world)["load_high"]
    assert before.for_seconds == 120
    shown = yaml.safe_load(alerts("show", "load_high"))
    assert shown["expression"] == GOOD["expression"]
    assert "is so already" in alerts("add", written(tmp_path, shown), "--hours", "0")
    assert stored(world)["load_high"] == before
    changed = alerts("add", written(tmp_path, {**GOOD, "for": "5m"}), "--hours", "0")
    assert "rule load_high: changed: for 2m → 5m\n" in changed
    assert "would have fired" not in changed
    assert "SELECT t, -1 AS part" in alerts("show", "load_high", "--sql")
    assert "no rule is called nosuch" in alerts("show", "nosuch", fails=True)


def line_of(rule: str) -> str:
    (line,) = [line for line in alerts("list").splitlines() if rule in line]
    return line


def test_what_is_held_back_is_marked(world: World, tmp_path: Path) -> None:
    alerts("add", written(tmp_path, {**GOOD, "for": "0s"}, {**GOOD, "name": "other", "for": "0s"}))
    world.judge(0)
    world.sample(1, 50)
    world.judge(1)
    assert "silenced" not in line_of("load_high")
    alerts("silence", "add", 'alertname="load_high"', "--for", "1h", "--comment", "known")
    assert "silenced" in line_of("load_high")
    world.connection.execute(
        "INSERT INTO alert_inhibitions (name, source, target) VALUES ('load', %s, %s)",
        [['alertname="load_high"'], ['alertname="other"']],
    )
    assert "inhibited by load" in line_of("other")


@pytest.mark.parametrize(
    ("matcher", "named"),
    [
        ('alertnam="load_high"', "no alert has a label alertnam"),
        ('alertname="load_hi"', "no rule is called so"),
        ('alertname=~"(?=load)"', "illegal regex"),
    ],
)
def test_a_silence_of_nothing_is_refused(
    world: World, tmp_path: Path, matcher: str, named: str
) -> None:
    alerts("add", written(tmp_path, GOOD))
    add = ("silence", "add", matcher, "--for", "1h", "--comment", "x")
    assert named in alerts(*add, fails=True)
    if "regex" not in named:
        assert "silence " in alerts(*add, "--anyway")


def test_routes_are_listed_set_and_tried(world: World) -> None:
    assert "no route is called ops" in alerts("routes", "set", "ops", fails=True)
    assert "config needs channel" in alerts("routes", "set", "ops", "--kind", "slack", fails=True)
    said = alerts("routes", "set", "ops", "--kind", "slack", "--channel", "#ops", "--off")
    assert "is off" in said
    assert "route ops is off" in alerts("routes", "test", "ops", fails=True)
    alerts("routes", "set", "ops", "--on", "--repeat", "2h", "--channel", "#night")
    routes = {r["route"]: r for r in yaml.safe_load(alerts("routes", "list", "--json"))}
    assert routes["ops"]["config"] == {"channel": "#night"}
    assert routes["ops"]["repeat_interval_seconds"] == 7200
    assert routes["chat"]["config"] == {"channel": "#alerts"}
    assert "Nothing has tried to send it" in alerts(
        "routes", "test", "ops", "--wait", "0", fails=True
    )


def test_a_route_that_is_tried_hears_of_a_test_and_its_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as channels:
        world = World(settings, channels)
        at = routing.send_test(settings, world.connection, "chat")
        world.deliver()
        found = routing.test_outcome(world.connection, "chat", at)
        assert [(row["event"], row["state"]) for row in found] == [
            ("trigger", "sent"), ("resolve", "sent"),
        ]  # fmt: skip
        assert "This is a test of the route" in str(channels.slack_messages)


def test_a_notification_is_sent_again_and_a_channels_refusal_is_told(settings: Settings) -> None:
    with serving() as channels:
        world = World(settings, channels)
        tried = ["trigger to chat: sent", "resolve to chat: sent"]
        assert routing.send_now(settings, world.senders(), "chat") == tried
        first = world.connection.execute(
            "SELECT min(notification_id) AS id FROM alert_notifications WHERE route = 'chat'"
        ).fetchall()[0]["id"]
        before = len(channels.slack_messages)
        assert routing.send_now(settings, world.senders(), None, first) == tried
        assert len(channels.slack_messages) == before + 1
        for wrong in ((None, None), ("chat", first)):
            with pytest.raises(RuleError, match="name a route to try out, or a notification"):
                routing.send_now(settings, world.senders(), *wrong)
        with pytest.raises(RuleError, match="no notification 999999999"):
            routing.send_now(settings, world.senders(), None, 999_999_999)
    with pytest.raises(RuleError, match="chat did not take it: DeliveryError: Slack"):
        routing.send_now(settings, world.senders(), "chat")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"expression": f"count_values('v', {LOAD})"}, "count_values"),
        ({"expression": f"holt_winters({LOAD}[5m], 0.5, 0.5)"}, "holt_winters"),
        ({"expression": f"{LOAD}{{a='1' or b='2'}} > 1"}, "'or' between matchers"),
        ({"expression": f"{LOAD} >"}, "not a valid PromQL expression"),
        ({"severity": "bad"}, "severity"),
        ({"routes": ["nowhere"]}, "no route is called nowhere"),
        ({"runbook": "docs/runbooks/nosuch.md"}, "runbook: there is no file"),
        ({"for": "soon"}, "'soon' is no duration"),
        ({"threshold": 3}, "there is no field 'threshold'"),
        ({"annotations": {"summary": "{{ value "}}, "annotations.summary"),
    ],
)
def test_a_bad_rule_is_refused_by_name_and_none_of_its_file_is_saved(
    world: World, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    said = alerts("add", written(tmp_path, GOOD, {**GOOD, "name": "bad", **change}), fails=True)
    assert named in said
    assert "bad" in said
    assert stored(world) == {}


def test_the_list_tells_what_fires_and_what_is_off(world: World, tmp_path: Path) -> None:
    alerts("add", written(tmp_path, {**GOOD, "for": "0s"}, {**GOOD, "name": "other"}))
    alerts("disable", "other")
    world.judge(0)
    world.sample(1, 50)
    world.judge(1)
    (line,) = [line for line in alerts("list").splitlines() if "load_high" in line]
    assert "firing" in line
    assert "50" in line
    assert "other" not in alerts("list")
    (line,) = [line for line in alerts("list", "--all").splitlines() if "other" in line]
    assert "off" in line
    alerts("enable", "other")
    assert stored(world)["other"].is_active
    assert "firing" in alerts("history", "load_high", "--since", "-24h")
    assert "active" in alerts("history", "load_high", "--since", "-24h", "--results")
    (sent,) = yaml.safe_load(alerts("outbox", "--json"))
    assert (sent["rule"], sent["route"], sent["event"]) == (["load_high"], "chat", "trigger")
    assert sent["outcome"] == "waiting"
    (standing,) = [r for r in yaml.safe_load(alerts("list", "--yaml")) if r["state"] == "firing"]
    (alert,) = standing["alerts"]
    assert (alert["value"], alert["labels"]["host"]) == (50, "a")
    assert "host=a 50" in line_of("load_high")
    assert "1 incident acknowledged by me" in alerts("ack", "load_high", "--by", "me")


def test_a_rule_is_tried_on_the_past(world: World, tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    alerts("add", path)
    for minute in range(30):
        world.sample(minute, 50 if 10 <= minute < 20 else 1)
    at = f"{START + 12 * MINUTE:%Y-%m-%dT%H:%M}"
    said = alerts("test", "load_high", "--at", at)
    assert f"firing since {START + 12 * MINUTE:%Y-%m-%d %H:%M}: host=a, value 50" in said
    assert "judged then" not in said
    early = alerts("test", "load_high", "--at", f"{START + 11 * MINUTE:%Y-%m-%dT%H:%M}")
    assert "pending" in early
    over = ["--from", f"{START:%Y-%m-%dT%H:%M}", "--to", f"{START + 29 * MINUTE:%Y-%m-%dT%H:%M}"]
    found = alerts("test", "load_high", *over)
    assert f"{START + 12 * MINUTE:%Y-%m-%d %H:%M}" in found
    assert "would have fired 1 time in " in found
    assert "minutes: condition true in 10, " in found
    stricter = {**GOOD, "name": "stricter", "for": "15m"}
    tried = alerts("test", "stricter", "--file", written(tmp_path, stricter), *over)
    assert "would have fired 0 times" in tried
    assert world.told() == []
    assert "'yesterday' is no time" in alerts("test", "load_high", "--at", "yesterday", fails=True)


def test_a_minute_of_the_past_tells_what_was_told_then(world: World, tmp_path: Path) -> None:
    alerts("add", written(tmp_path, {**GOOD, "for": "0s"}))
    world.sample(0, 50)
    world.judge(0)
    world.sample(0, 60, host="b")  # it came late
    said = alerts("test", "load_high", "--at", f"{START:%Y-%m-%dT%H:%M}")
    assert "host=b, value 60" in said
    assert "it was judged then as active, 1 series" in said


def test_silences_and_maintenance_keep_quiet_until_they_end(world: World, tmp_path: Path) -> None:
    alerts("add", written(tmp_path, {**GOOD, "for": "0s"}))
    begins = f"{START:%Y-%m-%dT%H:%M}"
    matcher = 'alertname="load_high"'
    alerts("silence", "add", matcher, "--for", "5m", "--from", begins, "--by", "me",
           "--comment", "moving house")  # fmt: skip
    later = f"{START + 5 * MINUTE:%Y-%m-%dT%H:%M}"
    alerts("maintenance", "weekly", matcher, "--from", later, "--for", "3m", "--every", "week")
    listed = alerts("silence", "list")
    assert "weekly" in listed
    for minute in range(9):
        world.sample(minute, 50)
        world.judge(minute)
        assert world.told() == ([] if minute < 8 else [("chat", "trigger")]), minute
    assert "weekly ended" in alerts("silence", "end", "weekly")
    assert "no silence or window weekly" in alerts("silence", "end", "weekly", fails=True)
    row = world.connection.execute(
        "SELECT changed_by FROM audit_logs WHERE table_name = 'alert_silences' "
        "ORDER BY audit_id DESC LIMIT 1"
    ).fetchone()
    assert row == {"changed_by": "me"}
    assert "=" in alerts("silence", "add", "load_high", "--for", "1h", "--comment", "x", fails=True)


def test_a_built_in_rule_is_disabled_not_removed(world: World, tmp_path: Path) -> None:
    assert "rules added or changed" in alerts("seed")
    assert "disable it instead" in alerts("remove", "no_events", fails=True)
    shown = yaml.safe_load(alerts("show", "no_events"))
    alerts("add", written(tmp_path, {**shown, "for": "30m"}), "--hours", "0")
    assert "1 rule changed here and kept: no_events" in alerts("seed")
    assert stored(world)["no_events"].for_seconds == timedelta(minutes=30).total_seconds()
    assert "added or changed: no_events" in alerts("seed", "--reset", "no_events")
    assert stored(world)["no_events"].for_seconds == 60
