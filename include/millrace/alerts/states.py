"""The state machine: inactive, pending (for as long as ``for`` says), firing, resolved.

A pure function of the states before a minute and the results of that minute, so that a minute
judged late, or again after a crash, comes out the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from millrace.alerts.model import Instance, Kind, Labels, Result, Rule, Transition

Key = tuple[str, Kind, str]


def advance(
    rules: Iterable[Rule],
    results: Mapping[str, Result],
    before: Mapping[Key, Instance],
    at: datetime,
    *,
    after_gap: bool = False,
) -> tuple[dict[Key, Instance], list[Transition]]:
    """Return the states after the minute ``at`` and what changed.

    An error leaves a rule's states as they are, and missing data never resolves an alert.
    ``after_gap`` says that minutes before this one were never judged: what was pending starts to
    wait again, since nobody knows that it held all along. Rules that are gone or inactive resolve.
    """
    after: dict[Key, Instance] = {}
    changes: list[Transition] = []
    known = {rule.name: rule for rule in rules if rule.is_active}
    for name, rule in known.items():
        result = results.get(name, Result("error", detail="not evaluated"))
        mine = {key: instance for key, instance in before.items() if key[0] == name}
        for kind, found in _found(rule, result).items():
            old = {key: instance for key, instance in mine.items() if key[1] == kind}
            if found is None:
                after.update(old)
                continue
            holds_on = kind == "condition" and result.status == "no_data"
            for labels, value in found:
                instance = _active(rule, kind, labels, value, old, at, after_gap=after_gap)
                after[instance.key] = instance
                previous = old.get(instance.key)
                if previous is None or previous.state != instance.state:
                    was = previous.state if previous else "inactive"
                    changes.append(Transition(instance, at, was, instance.state))
            for key, instance in old.items():
                if key in after:
                    continue
                if holds_on:
                    after[key] = instance
                else:
                    changes.append(_ended(instance, at))
    changes.extend(_ended(instance, at) for key, instance in before.items() if key[0] not in known)
    return after, changes


def _found(rule: Rule, result: Result) -> dict[Kind, list[tuple[Labels, float | None]] | None]:
    """Return what is active, by kind; None where nothing can be said."""
    if result.status == "error":
        return {"condition": None, "no_data": None}
    condition: list[tuple[Labels, float | None]] = [
        (rule.alert_labels(labels, "condition"), None if math.isnan(value) else value)
        for labels, value in result.series
    ]
    silent: list[tuple[Labels, float | None]] = []
    if result.status == "no_data" and rule.no_data == "alert":
        silent = [(rule.alert_labels({}, "no_data"), None)]
    return {"condition": condition, "no_data": silent}


def _active(
    rule: Rule,
    kind: Kind,
    labels: Labels,
    value: float | None,
    old: Mapping[Key, Instance],
    at: datetime,
    *,
    after_gap: bool,
) -> Instance:
    fresh = Instance(rule.name, kind, labels, "pending", at, None, value)
    previous = old.get(fresh.key)
    if previous is not None and previous.state == "firing":
        return replace(previous, value=value)
    # A moment to come is one of a clock that was wrong.
    since = min(previous.active_since, at) if previous is not None and not after_gap else at
    if at - since >= rule.patience(kind):
        return replace(fresh, state="firing", active_since=since, fired_at=at)
    return replace(fresh, active_since=since)


def _ended(instance: Instance, at: datetime) -> Transition:
    to_state = "resolved" if instance.state == "firing" else "inactive"
    return Transition(instance, at, instance.state, to_state)  # type: ignore[arg-type]
