"""Who is told what, and when: muting, grouping, repeating.

A pure function of the firing alerts, what was told before and the minute, after the model of
Prometheus' Alertmanager (https://prometheus.io/docs/alerting/latest/alertmanager/). Two choices
differ from it: the end of something that was told is always told, muted or not, and at once; on a
route that was switched off meanwhile, too, where nothing else is told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from millrace.alerts import matchers
from millrace.alerts.model import Inhibition, Instance, Kind, Labels, Route, Rule, fingerprint

log = logging.getLogger(__name__)

Event = Literal["trigger", "update", "repeat", "acknowledge", "resolve"]


@dataclass(frozen=True)
class Silence:
    """A stretch of time in which matching alerts are not told of."""

    matchers: list[str]
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True)
class MaintenanceWindow:
    """A silence that comes again."""

    matchers: list[str]
    starts_at: datetime
    duration: timedelta
    every: Literal["once", "day", "week"]

    def covers(self, at: datetime) -> bool:
        """Return whether the window is open at ``at``."""
        since = at - self.starts_at
        if since < timedelta(0):
            return False
        period = {"once": None, "day": timedelta(days=1), "week": timedelta(weeks=1)}[self.every]
        return (since % period if period else since) < self.duration


def _fits(wanted: Sequence[str], alert: Labels) -> bool:
    """Tell whether an alert fits matchers that are stored; those that can't be read mute nothing.

    One that was saved before it was refused, or by hand, must not keep every alert from being told.
    """
    try:
        return matchers.match(wanted, alert)
    except ValueError as error:
        log.warning("muting nothing: %s", error)
        return False


@dataclass(frozen=True)
class Mutes:
    """Everything that keeps alerts from being told."""

    silences: Sequence[Silence] = ()
    windows: Sequence[MaintenanceWindow] = ()
    inhibitions: Sequence[Inhibition] = ()

    def among(self, firing: Sequence[Labels], at: datetime) -> Callable[[Labels], str]:
        """Return what says why an alert is not told of at ``at``, while ``firing`` are.

        It says nothing of one that is told. Causes are looked for once, however many alerts fire.
        """
        silences = [one for one in self.silences if one.starts_at <= at < one.ends_at]
        windows = [one for one in self.windows if one.covers(at)]
        causes = [_Cause(one, firing) for one in self.inhibitions]

        def reason(alert: Labels) -> str:
            if any(_fits(one.matchers, alert) for one in silences):
                return "silenced"
            if any(_fits(one.matchers, alert) for one in windows):
                return "in maintenance"
            for cause in causes:
                if cause.inhibits(alert):
                    return f"inhibited by {cause.inhibition.name}"
            return ""

        return reason


class _Cause:
    """An inhibition, with the labels that are to be equal of those alerts that are its source."""

    def __init__(self, inhibition: Inhibition, firing: Sequence[Labels]) -> None:
        self.inhibition = inhibition
        sources = [one for one in firing if _fits(inhibition.source, one)]
        self._every = {self._equal(one) for one in sources}
        self._others = {self._equal(one) for one in sources if not _fits(inhibition.target, one)}

    def _equal(self, alert: Labels) -> tuple[str, ...]:
        return tuple(alert.get(name, "") for name in self.inhibition.equal)

    def inhibits(self, alert: Labels) -> bool:
        """Tell whether an alert follows from the cause."""
        if not _fits(self.inhibition.target, alert):
            return False
        # What could inhibit itself is not inhibited by its like.
        is_source_too = _fits(self.inhibition.source, alert)
        return self._equal(alert) in (self._others if is_source_too else self._every)


@dataclass(frozen=True)
class Group:
    """Alerts that are told of together; ``opened_at`` is None until they were."""

    route: str
    labels: Labels
    first_seen_at: datetime
    opened_at: datetime | None = None
    notified_at: datetime | None = None
    notified: tuple[Instance, ...] = ()
    acknowledged_by: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What tells this group from every other: its route and a short name of its labels."""
        return self.route, fingerprint(self.labels)

    @property
    def dedup_key(self) -> str:
        """The incident's name at the receiver: the group, and when it opened."""
        if self.opened_at is None:
            raise ValueError(f"the group {self.labels} of route {self.route} was never notified")
        return f"millrace-{self.key[1]}-{int(self.opened_at.timestamp())}"


@dataclass(frozen=True)
class Notification:
    """Something to be told to one route."""

    route: str
    group: Group
    event: Event
    evaluated_at: datetime
    firing: tuple[Instance, ...]
    resolved: tuple[Instance, ...] = field(default=())


def decide(
    routes: Iterable[Route],
    rules: Iterable[Rule],
    firing: Sequence[Instance],
    mutes: Mutes,
    groups: Mapping[tuple[str, str], Group],
    at: datetime,
) -> tuple[dict[tuple[str, str], Group], list[Notification]]:
    """Return the groups after the minute ``at``, and the notifications due at it.

    Groups that ended are left out of what is returned.
    """
    routed = {rule.name: set(rule.routes) for rule in rules}
    reason = mutes.among([instance.labels for instance in firing], at)
    muted = {instance.key: bool(reason(instance.labels)) for instance in firing}
    after: dict[tuple[str, str], Group] = {}
    due: list[Notification] = []
    for route in routes:
        members: dict[tuple[str, str], list[Instance]] = {}
        seen = {key: group for key, group in groups.items() if key[0] == route.name}
        for instance in firing:
            if route.name not in routed.get(instance.rule_name, ()):
                continue
            labels = {name: instance.labels.get(name, "") for name in route.group_by}
            group = Group(route.name, labels, at)
            seen.setdefault(group.key, group)
            members.setdefault(group.key, []).append(instance)
        for key, group in seen.items():
            if route.is_active:
                kept, notification = _judge(route, group, members.get(key, []), muted, at)
            else:
                kept, notification = _end(group, members.get(key, []), at)
            if kept is not None:
                after[key] = kept
            if notification is not None:
                due.append(notification)
    return after, due


def _passed(since: datetime, at: datetime) -> timedelta:
    """Return how long something was ago; for ever, where a clock that was wrong said when."""
    return at - since if since <= at else timedelta.max


def _end(
    group: Group, members: Sequence[Instance], at: datetime
) -> tuple[Group | None, Notification | None]:
    """Return a group of a route that is switched off: only what was told and has ended is told."""
    if group.opened_at is None:
        return None, None
    if {i.key for i in group.notified} & {i.key for i in members}:
        return group, None
    return None, Notification(group.route, group, "resolve", at, (), group.notified)


def _judge(
    route: Route,
    group: Group,
    members: Sequence[Instance],
    muted: Mapping[tuple[str, Kind, str], bool],
    at: datetime,
) -> tuple[Group | None, Notification | None]:
    """Return a group after the minute, or None if it ended, and what is to be told."""
    visible = tuple(instance for instance in members if not muted[instance.key])
    if group.opened_at is None:
        if not visible:
            return (group if members else None), None
        if _passed(group.first_seen_at, at) < timedelta(seconds=route.group_wait_seconds):
            return group, None
        opened = replace(group, opened_at=at, notified_at=at, notified=visible)
        return opened, Notification(route.name, opened, "trigger", at, visible)

    present = {instance.key for instance in members}
    told = {instance.key for instance in group.notified}
    gone = tuple(instance for instance in group.notified if instance.key not in present)
    if len(gone) == len(group.notified) and not visible:
        ended = Notification(route.name, group, "resolve", at, (), gone)
        left = Group(group.route, group.labels, at) if members else None
        return left, ended
    waited = _passed(group.notified_at or at, at)
    news = gone or any(instance.key not in told for instance in visible)
    if news and waited >= timedelta(seconds=route.group_interval_seconds):
        # Alerts that were told and are muted by now stay part of the incident.
        still = tuple(i for i in members if i.key in told or not muted[i.key])
        kept = replace(group, notified_at=at, notified=still)
        return kept, Notification(route.name, kept, "update", at, visible, gone)
    is_due = waited >= timedelta(seconds=route.repeat_interval_seconds)
    if is_due and visible and group.acknowledged_by is None:
        kept = replace(group, notified_at=at)
        return kept, Notification(route.name, kept, "repeat", at, visible)
    return group, None
