"""Replay a rule over the past: when would it have fired?"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from millrace.alerts import check, states
from millrace.alerts.evaluation import Evaluator
from millrace.alerts.model import Instance, Rule, Transition
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

CHUNK = timedelta(hours=6)
"""Minutes evaluated by one statement."""


@dataclass
class Replay:
    """What a rule would have done; ``at_end`` is what is pending or firing at the last minute."""

    transitions: list[Transition] = field(default_factory=list)
    minutes: int = 0
    minutes_active: int = 0
    minutes_without_data: int = 0
    errors: dict[datetime, str] = field(default_factory=dict)
    at_end: list[Instance] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """How often the rule would have fired, and in how many minutes it was judged how."""
        fired = sum(change.to_state == "firing" for change in self.transitions)
        return (
            f"would have fired {fired} {'time' if fired == 1 else 'times'} in {self.minutes} "
            f"minutes: condition true in {self.minutes_active}, no data in "
            f"{self.minutes_without_data}, failed in {len(self.errors)}"
        )


def replay(evaluator: Evaluator, rule: Rule, first: datetime, last: datetime) -> Replay:
    """Judge a rule at every minute from ``first`` to ``last``, touching no state.

    Samples are demanded as if the rule had always existed.
    """
    rule = replace(rule, is_active=True, created_at=None)
    found = Replay()
    before: dict[states.Key, Instance] = {}
    at = first
    while at <= last:
        until = min(last, at + CHUNK)
        for minute, results in evaluator.evaluate([rule], at, until).items():
            result = results[rule.name]
            before, changes = states.advance([rule], results, before, minute)
            found.transitions += changes
            found.minutes += 1
            found.minutes_active += bool(result.series)
            found.minutes_without_data += result.status == "no_data"
            if result.status == "error":
                found.errors[minute] = result.detail
        at = until + timedelta(minutes=1)
    found.at_end = list(before.values())
    return found


def of_last_hours(settings: Settings, rule: Rule, hours: int) -> Replay:
    """Judge a rule, saved or not, at every minute of the last hours."""
    last = check.floor_minute(datetime.now(UTC))
    with Evaluator(settings) as evaluator:
        return replay(evaluator, rule, last - timedelta(hours=hours), last)


def told_then(settings: Settings, name: str, minute: datetime) -> str:
    """Say what a rule's minute was judged to be at its time; empty if nobody judged it.

    What came later, such as late events, is not in it, as it is in a replay.
    """
    with clickhouse.connect(settings, "alerts") as client:
        rows = client.query(
            sql.render("clickhouse/alerts/told_then.sql"),
            parameters={"name": name, "minute": minute},
        ).result_rows
    if not rows:
        return ""
    counted = ", ".join(
        status + (f" ({detail})" if detail else f", {count} series" if status == "active" else "")
        for status, count, _, detail in rows
    )
    return f"{counted}; judged at {max(row[2] for row in rows):%Y-%m-%d %H:%M:%S} UTC"
