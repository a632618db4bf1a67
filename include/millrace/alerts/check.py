"""Judge the minutes that are due: evaluate rules, move states, write notifications.

A minute is settled in one PostgreSQL transaction, under the lock of the one clock: states,
transitions, groups and outbox move together or not at all. A run that is repeated, killed or
overtaken by another therefore changes nothing that is settled and notifies nobody twice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace.alerts import content, grouping, repository, states
from millrace.alerts.evaluation import MINUTE, Evaluator
from millrace.alerts.grouping import Notification
from millrace.alerts.model import Result, Rule
from millrace.contract import locks, metrics
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres

log = logging.getLogger(__name__)

MINUTES_AT_ONCE = 10
"""Minutes judged together after an outage: a statement costs its planning, hardly its data."""

FAILURES = "millrace_alert_rule_failures"
"""The metric of rules that could not be judged: 1 for each minute."""

MOST_MISSED = 60
"""Missed minutes that are judged afterwards: of older ones nobody needs to be woken any more."""

CLOCK_SLACK = timedelta(hours=1)
"""How far ahead a minute that was judged may lie; nobody would be told of anything until then."""


class _AnotherRunError(Exception):
    """Another run judges at the moment."""


@dataclass
class Summary:
    """What a run did."""

    minutes: list[datetime] = field(default_factory=list)
    skipped: int = 0
    rules: int = 0
    firing: int = 0
    transitions: int = 0
    notifications: int = 0
    no_data: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    is_left_to_another: bool = True

    def __str__(self) -> str:
        if self.is_left_to_another:
            return "another run is judging"
        if not self.minutes:
            return "no minute is due"
        last = self.minutes[-1]
        parts = [
            f"judged {self.rules} rules at {len(self.minutes)} minutes up to {last:%Y-%m-%d %H:%M}",
            f"{self.firing} firing",
            f"{self.transitions} changes",
            f"{self.notifications} notifications",
            f"{len(self.no_data)} without data",
            f"{len(self.errors)} failed",
        ]
        if self.skipped:
            parts.append(f"{self.skipped} minutes missed for good")
        return ", ".join(parts)


def floor_minute(moment: datetime) -> datetime:
    """Return the minute that a moment is in, in UTC."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def due_at(settings: Settings, now: datetime) -> datetime:
    """Return the newest minute that is old enough to be judged at ``now``."""
    return floor_minute(now - timedelta(seconds=settings.alert_delay_seconds))


def run(settings: Settings, *, now: datetime | None = None, run_url: str = "") -> Summary:
    """Judge every minute since the last one judged, at most ``MOST_MISSED`` of them.

    They are judged a few at a time, oldest first, since states follow from those before; what is
    settled stays when the run is cut short. While another run judges, nothing is done. ``run_url``
    is the link to this run that notifications carry. Raises the stores' own errors when PostgreSQL
    or ClickHouse does not answer; the next run then catches up.
    """
    last = due_at(settings, now or datetime.now(UTC))
    summary = Summary()
    with (
        suppress(_AnotherRunError),
        postgres.connect(settings) as connection,
        locks.at_once(connection, locks.ALERTS, error=_AnotherRunError()),
    ):
        summary.is_left_to_another = False
        row = connection.execute("SELECT evaluated_until FROM alert_clock").fetchone()
        until = row["evaluated_until"] if row else last - MINUTE
        if until > last + CLOCK_SLACK:
            log.warning(
                "alerts were judged up to %s, which is to come: the clock was wrong. They "
                "are judged from now on",
                f"{until:%Y-%m-%d %H:%M}",
            )
            until = last - MINUTE
            connection.execute("UPDATE alert_clock SET evaluated_until = %s", [until])
        first = max(until + MINUTE, last - MINUTE * (MOST_MISSED - 1))
        summary.skipped = max(0, int((first - until) / MINUTE) - 1)
        if first > last:
            return summary
        rules = [rule for rule in repository.load_rules(connection) if rule.is_active]
        summary.rules = len(rules)
        with Evaluator(settings) as evaluator:
            while first <= last:
                end = min(first + MINUTE * (MINUTES_AT_ONCE - 1), last)
                found = evaluator.evaluate(rules, first, end)
                _keep_history(settings, found)
                for minute, results in found.items():
                    settled = _settle(
                        settings, connection, evaluator, rules, results, minute, summary, run_url
                    )
                    if settled:
                        summary.minutes.append(minute)
                    summary.no_data = {
                        n: r.detail for n, r in results.items() if r.status == "no_data"
                    }
                    summary.errors = {
                        n: r.detail for n, r in results.items() if r.status == "error"
                    }
                if end < last:
                    log.info("judged up to %s of %s", f"{end:%H:%M}", f"{last:%H:%M}")
                first = end + MINUTE
    return summary


def _settle(
    settings: Settings,
    connection: repository.Connection,
    evaluator: Evaluator,
    rules: Sequence[Rule],
    results: Mapping[str, Result],
    minute: datetime,
    summary: Summary,
    run_url: str,
) -> bool:
    """Move everything to ``minute``; return False if another run has been there."""
    with connection.transaction():
        connection.execute(
            "INSERT INTO alert_clock (evaluated_until) VALUES (%s) ON CONFLICT DO NOTHING",
            [minute - MINUTE],
        )
        clock = postgres.one(
            connection.execute("SELECT evaluated_until FROM alert_clock FOR UPDATE")
        )
        if clock["evaluated_until"] >= minute:
            return False
        gap = minute - clock["evaluated_until"] > MINUTE
        before = repository.load_instances(connection)
        after, transitions = states.advance(rules, results, before, minute, after_gap=gap)
        repository.save_states(connection, before, after, transitions)

        groups = repository.load_groups(connection)
        firing = [instance for instance in after.values() if instance.state == "firing"]
        routes = repository.load_routes(connection)
        mutes = repository.load_mutes(connection, minute)
        kept, due = grouping.decide(routes, rules, firing, mutes, groups, minute)
        repository.save_groups(connection, groups, kept)
        describe = content.Writer(settings, {r.name: r for r in rules}, evaluator, run_url)
        for notification in due:
            said = _described(describe, notification, settings)
            repository.save_notification(connection, notification, said)
        connection.execute("UPDATE alert_clock SET evaluated_until = %s", [minute])
    for transition in transitions:
        log.info(
            "%s %s: %s to %s %s",
            f"{minute:%H:%M}",
            transition.instance.rule_name,
            transition.from_state,
            transition.to_state,
            transition.instance.labels,
        )
    summary.firing = len(firing)
    summary.transitions += len(transitions)
    summary.notifications += len(due)
    return True


def _described(
    describe: content.Writer, notification: Notification, settings: Settings
) -> dict[str, Any]:
    """Return what a notification says; one rule that can't be described must not stop the rest."""
    try:
        return describe(notification)
    except Exception:
        log.exception("%s is told without its rules' own words", notification.group.labels)
        return content.Writer(settings, {})(notification)


def _keep_history(settings: Settings, found: Mapping[datetime, Mapping[str, Result]]) -> None:
    """Write every result to ``alert_evaluations``; the same minute again replaces its rows.

    What failed is a metric, too, so that somebody is told whose rule nobody judges.
    """
    rows: list[list[Any]] = []
    for minute, results in found.items():
        for name, result in results.items():
            if not result.series:
                rows.append([minute, name, {}, result.status, float("nan"), result.detail])
            status = "active" if result.status == "ok" else result.status
            rows.extend(
                [minute, name, labels, status, value, result.detail]
                for labels, value in result.series
            )
    if not rows:
        return
    with clickhouse.connect(settings, "alerts") as client:
        client.insert(
            "alert_evaluations",
            rows,
            column_names=["evaluated_at", "rule_name", "labels", "status", "value", "detail"],
        )
        for minute, results in found.items():
            failed = [name for name, result in results.items() if result.status == "error"]
            metrics.write(client, minute, [(FAILURES, 1.0, {"rule": name}) for name in failed])


__all__ = ["Notification", "Summary", "due_at", "floor_minute", "run"]
