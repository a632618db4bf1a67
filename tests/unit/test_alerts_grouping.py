"""Who is told what, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from millrace.alerts import grouping, matchers
from millrace.alerts.grouping import Group, MaintenanceWindow, Mutes, Notification, Silence
from millrace.alerts.model import Inhibition, Instance, Route, Rule

START = datetime(2024, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ROUTE = Route("slack", "slack", "slack_alerts", {"channel": "#a"})


def rule(name: str) -> Rule:
    return Rule(name, "x > 1", "warning", "me", "runbook", ["slack"])


def firing(name: str, **labels: str) -> Instance:
    every = {"alertname": name, "severity": "warning", **labels}
    return Instance(name, "condition", every, "firing", START, START, 1.0)


class Story:
    """Minutes in a row; each call is one minute."""

    def __init__(self, route: Route = ROUTE, mutes: Mutes | None = None) -> None:
        self.route, self.mutes = route, mutes or Mutes()
        self.groups: dict[tuple[str, str], Group] = {}
        self.at = START

    def __call__(self, *alerts: Instance, minutes: int = 1) -> list[Notification]:
        """Return what is told while these alerts fire for some minutes."""
        told = []
        for _ in range(minutes):
            rules = [rule(alert.rule_name) for alert in alerts]
            self.groups, due = grouping.decide(
                [self.route], rules, alerts, self.mutes, self.groups, self.at
            )
            told += due
            self.at += MINUTE
        return told


def events(notifications: list[Notification]) -> list[str]:
    return [notification.event for notification in notifications]


def test_told_once_and_told_when_it_is_over() -> None:
    story = Story()
    assert events(story(firing("slow"), minutes=90)) == ["trigger"]
    assert events(story(minutes=10)) == ["resolve"]


def test_one_incident_has_one_key_and_the_next_another() -> None:
    story = Story()
    first = [*story(firing("slow")), *story()]
    second = story(firing("slow"))
    assert first[0].group.dedup_key == first[1].group.dedup_key
    assert second[0].group.dedup_key != first[0].group.dedup_key


def test_alerts_of_a_group_are_told_together() -> None:
    story = Story()
    told = story(firing("slow", country="US"), firing("slow", country="DE"))
    assert events(told) == ["trigger"]
    assert len(told[0].firing) == 2


def test_what_joins_a_group_is_told_after_the_interval() -> None:
    story = Story()
    us, de = firing("slow", country="US"), firing("slow", country="DE")
    story(us)
    told = story(us, de, minutes=10)
    assert events(told) == ["update"]
    assert told[0].evaluated_at == START + 5 * MINUTE


def test_it_is_repeated_after_the_interval_until_someone_acknowledges() -> None:
    story = Story(replace(ROUTE, repeat_interval_seconds=1800))
    assert events(story(firing("slow"), minutes=61)) == ["trigger", "repeat", "repeat"]
    story.groups = {k: replace(g, acknowledged_by="me") for k, g in story.groups.items()}
    assert events(story(firing("slow"), minutes=120)) == []
    assert events(story()) == ["resolve"]


def test_group_wait_gathers_first() -> None:
    story = Story(replace(ROUTE, group_wait_seconds=120))
    assert story(firing("slow", country="US"), minutes=2) == []
    told = story(firing("slow", country="US"), firing("slow", country="DE"))
    assert [len(n.firing) for n in told] == [2]


def test_what_ends_within_the_group_wait_is_never_told() -> None:
    story = Story(replace(ROUTE, group_wait_seconds=120))
    assert [*story(firing("slow"), minutes=2), *story(minutes=9)] == []


def test_a_silence_keeps_quiet_and_ends() -> None:
    silence = Silence(['alertname="slow"'], START, START + 10 * MINUTE)
    story = Story(mutes=Mutes([silence]))
    told = story(firing("slow"), minutes=20)
    assert [(n.event, n.evaluated_at) for n in told] == [("trigger", START + 10 * MINUTE)]


def test_the_end_of_what_was_told_is_told_although_it_is_silenced_by_then() -> None:
    silence = Silence(['alertname="slow"'], START + 5 * MINUTE, START + 60 * MINUTE)
    story = Story(mutes=Mutes([silence]))
    assert events(story(firing("slow"), minutes=20)) == ["trigger"]
    assert events(story(minutes=5)) == ["resolve"]


def test_a_route_that_is_switched_off_tells_how_incidents_ended_and_nothing_else() -> None:
    story = Story()
    [opened] = story(firing("slow"))
    story.route = replace(ROUTE, is_active=False)
    assert not story(firing("slow"), firing("new"), minutes=500)
    [ended] = story(firing("new"))
    assert (ended.event, ended.group.dedup_key) == ("resolve", opened.group.dedup_key)
    assert [instance.rule_name for instance in ended.resolved] == ["slow"]
    story.route = ROUTE
    [again] = story(firing("new"))
    assert again.event == "trigger"


def test_an_incident_goes_on_when_its_route_is_on_again() -> None:
    story = Story()
    [opened] = story(firing("slow"))
    story.route = replace(ROUTE, is_active=False)
    assert not story(firing("slow"), minutes=5)
    story.route = ROUTE
    [ended] = story(minutes=5)
    assert (ended.event, ended.group.dedup_key) == ("resolve", opened.group.dedup_key)


def test_a_cause_inhibits_what_follows_from_it() -> None:
    inhibition = Inhibition("down", ['alertname="down"'], ['alertname="slow"'], ["source_id"])
    story = Story(mutes=Mutes(inhibitions=[inhibition]))
    down = firing("down", source_id="web")
    told = story(down, firing("slow", source_id="web"), firing("slow", source_id="app"))
    assert {(n.firing[0].rule_name, len(n.firing)) for n in told} == {("down", 1), ("slow", 1)}
    slow = next(n for n in told if n.firing[0].rule_name == "slow")
    assert slow.firing[0].labels["source_id"] == "app"


def test_a_storm_is_looked_through_for_causes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    match = matchers.match

    def counted(*arguments: Any) -> bool:
        nonlocal asked
        asked += 1
        return match(*arguments)

    monkeypatch.setattr(matchers, "match", counted)
    inhibition = Inhibition("down", ['alertname="down"'], ['alertname="slow"'], ["source_id"])
    storm = [firing("slow", device=str(number)) for number in range(200)]
    assert events(Story(mutes=Mutes(inhibitions=[inhibition]))(*storm)) == ["trigger"]
    assert asked < 5 * len(storm)


def test_nothing_inhibits_itself() -> None:
    inhibition = Inhibition("same", ['severity="warning"'], ['severity="warning"'])
    assert events(Story(mutes=Mutes(inhibitions=[inhibition]))(firing("slow"))) == ["trigger"]


@pytest.mark.parametrize(
    ("every", "after", "covered"),
    [
        ("once", timedelta(minutes=30), True),
        ("once", timedelta(days=1, minutes=30), False),
        ("day", timedelta(days=3, minutes=59), True),
        ("day", timedelta(days=3, minutes=60), False),
        ("week", timedelta(days=7), True),
        ("week", timedelta(days=6), False),
        ("day", timedelta(minutes=-1), False),
    ],
)
def test_maintenance_windows_come_again(every: Any, after: timedelta, covered: bool) -> None:
    window = MaintenanceWindow(['alertname=~".+"'], START, timedelta(hours=1), every)
    assert window.covers(START + after) is covered


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ('country="US"', True),
        ('country!="US"', False),
        ('country=~"U."', True),
        ('country=~"U"', False),
        ('country!~"D."', True),
        ('nosuch=""', True),
    ],
)
def test_matchers(text: str, fits: bool) -> None:
    assert matchers.match([text], {"country": "US"}) is fits


@pytest.mark.parametrize("is_open", [True, False])
def test_what_a_wrong_clock_noted_holds_nothing_back(is_open: bool) -> None:
    story = Story(replace(ROUTE, group_wait_seconds=120))
    story.at = START + timedelta(days=365)
    assert events(story(firing("slow"), minutes=3 if is_open else 1)) == ["trigger"] * is_open
    story.at = START
    told = events(story(firing("slow"), firing("slow", country="DE")))
    assert told == (["update"] if is_open else ["trigger"])


UNREADABLE = (
    [],
    ["country"],
    ['country="US'],
    ['a="b"} or up{c="d"'],
    [""],
    ['country="US" or country="DE"'],
    ['severity="info"', 'a="b" or c="d"'],
)


@pytest.mark.parametrize("bad", UNREADABLE)
def test_matchers_that_cannot_be_read_are_refused(bad: list[str]) -> None:
    with pytest.raises(ValueError, match="matchers"):
        matchers.check(bad)


@pytest.mark.parametrize("bad", [bad for bad in UNREADABLE if bad])
def test_a_mute_that_is_stored_and_cannot_be_read_mutes_nothing(bad: list[str]) -> None:
    """It is neither read as one that fits every alert, nor does it stop the others."""
    day = timedelta(days=1)
    mutes = Mutes(
        [Silence(bad, START, START + day), Silence(['alertname="quiet"'], START, START + day)],
        [MaintenanceWindow(bad, START, day, "day")],
        [Inhibition("bad", bad, bad)],
    )
    story = Story(mutes=mutes)
    assert events(story(firing("slow"), firing("quiet"))) == ["trigger"]
    assert mutes.among([], START)({"alertname": "quiet"}) == "silenced"
