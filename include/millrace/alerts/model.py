"""What alerting works on: rules, routes, and the states of alerts."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal

from millrace.alerts import promql

Labels = dict[str, str]
Severity = Literal["info", "warning", "error", "critical"]
Kind = Literal["condition", "no_data"]


@dataclass(frozen=True)
class Rule:
    """An alert rule, as the table ``alert_rules`` describes it."""

    name: str
    expression: str
    severity: Severity
    owner: str
    runbook: str
    routes: list[str]
    for_seconds: int = 0
    labels: Labels = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    no_data: Literal["alert", "ignore"] = "alert"
    no_data_for_seconds: int = 600
    is_active: bool = True
    seed_digest: str = ""
    created_at: datetime | None = None

    @cached_property
    def parsed(self) -> promql.Expression:
        """The expression, parsed. Raises ``promql.UnsupportedError``."""
        return promql.parse(self.expression)

    def patience(self, kind: Kind) -> timedelta:
        """Return how long a condition must hold before it fires."""
        return timedelta(
            seconds=self.for_seconds if kind == "condition" else self.no_data_for_seconds
        )

    @property
    def digest(self) -> str:
        """A short name of what the rule says: everything but whether it is on and where it goes."""
        said = asdict(replace(self, routes=[], is_active=True, seed_digest="", created_at=None))
        return _digest(said)

    def alert_labels(self, series: Labels, kind: Kind) -> Labels:
        """Return an alert's labels: the series' own, the rule's, and who it is."""
        own = {key: value for key, value in series.items() if key != "__name__"}
        named = {"alertname": self.name, "severity": self.severity, "owner": self.owner}
        marked = {"condition": "no_data"} if kind == "no_data" else {}
        texts = {name: str(text) for name, text in self.labels.items()}  # YAML's 5 was let in once
        return {**own, **texts, **named, **marked}


@dataclass(frozen=True)
class Route:
    """A channel, and how alerts are grouped on the way to it."""

    name: str
    kind: Literal["slack", "pagerduty", "webhook", "email"]
    connection_id: str
    config: dict[str, str] = field(default_factory=dict)
    group_by: list[str] = field(default_factory=lambda: ["alertname"])
    group_wait_seconds: int = 0
    group_interval_seconds: int = 300
    repeat_interval_seconds: int = 14_400
    is_active: bool = True


@dataclass(frozen=True)
class Inhibition:
    """While an alert matching ``source`` fires, alerts matching ``target`` are not told of."""

    name: str
    source: list[str]
    target: list[str]
    equal: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """What one rule gave at one minute.

    ``series`` are those for which the condition holds. ``missing`` names selectors that found no
    sample: the rule could not be judged, which is not the same as fine.
    """

    status: Literal["ok", "no_data", "error"]
    series: list[tuple[Labels, float]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    detail: str = ""


@dataclass(frozen=True)
class Instance:
    """An alert that is pending or firing."""

    rule_name: str
    kind: Kind
    labels: Labels
    state: Literal["pending", "firing"]
    active_since: datetime
    fired_at: datetime | None
    value: float | None

    @cached_property
    def fingerprint(self) -> str:
        """A short name of the label set."""
        return fingerprint(self.labels)

    @property
    def key(self) -> tuple[str, Kind, str]:
        """What tells this alert from every other."""
        return self.rule_name, self.kind, self.fingerprint


@dataclass(frozen=True)
class Transition:
    """A change of state at one minute."""

    instance: Instance
    evaluated_at: datetime
    from_state: Literal["inactive", "pending", "firing"]
    to_state: Literal["inactive", "pending", "firing", "resolved"]


def as_json(value: float | None) -> float | str | None:
    """Return a value as JSON can hold it: what is not finite as Prometheus writes it (``+Inf``)."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else f"{value:+}".replace("inf", "Inf")


def from_json(value: float | str | None) -> float | None:
    """Return what ``as_json`` was given."""
    return None if value is None else float(value)


def fingerprint(labels: Labels) -> str:
    """Return 16 hexadecimal digits that stand for a label set."""
    return _digest(labels)


def _digest(value: dict[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
