"""What a notification says, before any channel gives it its form."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.alerts import promql, templates
from millrace.alerts.evaluation import Evaluator
from millrace.alerts.grouping import Notification
from millrace.alerts.model import Instance, Labels, Rule, as_json
from millrace.alerts.samples import StoredSamples
from millrace.contract import runbooks
from millrace.settings import Settings

SEVERITIES = ("info", "warning", "error", "critical")
ALERT_LIMIT = 20
"""Alerts described one by one in a notification; the rest are counted."""


def series_statement(expression: promql.Expression) -> str:
    """Return a statement with the columns of an evaluation, for one expression alone."""
    return f"SELECT t, -1 AS part, labels, v FROM ({expression.statement(StoredSamples())})"  # noqa: S608


def nearest(series: list[tuple[Labels, float]], labels: Labels) -> float | None:
    """Return the value of the series that belongs to an alert: the one with the most labels."""
    fitting = [(len(own), value) for own, value in series if _belongs(own, labels)]
    return max(fitting)[1] if fitting else None


def _belongs(own: Labels, labels: Labels) -> bool:
    return all(labels.get(name) == value for name, value in own.items() if name != "__name__")


class Writer:
    """Writes contents of notifications. Call it with one."""

    def __init__(
        self,
        settings: Settings,
        rules: Mapping[str, Rule],
        evaluator: Evaluator,
        run_url: str,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._evaluator = evaluator
        self._run_url = run_url

    def __call__(self, notification: Notification) -> dict[str, Any]:
        """Return a notification's content as JSON can hold it."""
        at = notification.evaluated_at
        firing = [self._alert(i, at) for i in notification.firing[:ALERT_LIMIT]]
        resolved = [self._alert(i, at) for i in notification.resolved[:ALERT_LIMIT]]
        everything = [*notification.firing, *notification.resolved]
        ranks = [SEVERITIES.index(i.labels.get("severity", "warning")) for i in everything]
        return {
            "event": notification.event,
            "evaluated_at": at.isoformat(),
            "group": notification.group.labels,
            "severity": SEVERITIES[max(ranks, default=1)],
            "opened_at": notification.group.opened_at.isoformat()
            if notification.group.opened_at
            else at.isoformat(),
            "firing": firing,
            "resolved": resolved,
            "firing_count": len(notification.firing),
            "resolved_count": len(notification.resolved),
            "links": {
                "dashboard": self._settings.dashboard_url or self._settings.airflow_url,
                "run": self._run_url,
            },
        }

    def _alert(self, instance: Instance, at: datetime) -> dict[str, Any]:
        rule = self._rules.get(instance.rule_name)
        threshold = self._threshold(rule, instance, at) if rule else None
        texts = dict(rule.annotations) if rule else {}
        if instance.kind == "no_data":
            texts["summary"] = f"{instance.rule_name} cannot be judged: no data"
        return {
            "rule": instance.rule_name,
            "kind": instance.kind,
            "labels": instance.labels,
            "value": as_json(instance.value),
            "threshold": as_json(threshold),
            "operator": rule.parsed.comparison.operator
            if rule and rule.parsed.comparison
            else None,
            "active_since": instance.active_since.isoformat(),
            "expression": rule.expression if rule else "",
            "owner": rule.owner if rule else instance.labels.get("owner", ""),
            "runbook": runbooks.link(self._settings, rule.runbook) if rule else "",
            "annotations": {
                name: templates.render(
                    text,
                    rule=instance.rule_name,
                    labels=instance.labels,
                    value=instance.value,
                    threshold=threshold,
                )
                for name, text in texts.items()
            },
        }

    def _threshold(self, rule: Rule, instance: Instance, at: datetime) -> float | None:
        """Return what the value was compared with, where the rule is a comparison."""
        comparison = rule.parsed.comparison
        if comparison is None or instance.kind == "no_data":
            return None
        try:
            rows = self._evaluator.rows(series_statement(comparison.threshold), at, at)
        except ClickHouseError:
            return None  # the alert itself matters more than the number beside it
        return nearest([(dict(labels), value) for _, _, labels, value in rows], instance.labels)
