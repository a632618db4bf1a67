"""What a notification says, before any channel gives it its form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.alerts import promql, templates
from millrace.alerts.evaluation import TIMEOUT_SECONDS, Evaluator
from millrace.alerts.grouping import Notification
from millrace.alerts.model import Instance, Labels, Rule, as_json
from millrace.alerts.samples import StoredSamples
from millrace.contract import runbooks
from millrace.settings import Settings
from millrace.stores import sql
from millrace.stores.quoting import literal

SEVERITIES = ("info", "warning", "error", "critical")
ALERT_LIMIT = 20
"""Alerts described one by one in a notification; the rest are counted."""


ROW_LIMIT = 20_000
"""Rows that are read for a picture or a threshold, whatever the expression gives."""


def series_statement(expression: promql.Expression, labels: Labels | None = None) -> str:
    """Return a statement with the columns of an evaluation, for one expression alone.

    Given an alert's ``labels``, it finds the series that belong to the alert only.
    """
    pairs = [literal(text) for pair in (labels or {}).items() for text in pair]
    own = f"CAST(map({', '.join(pairs)}), 'Map(String, String)')"
    return sql.render(
        "clickhouse/alerts/series.sql",
        statement=expression.statement(StoredSamples()),
        own="" if labels is None else own,
        row_limit=ROW_LIMIT,
        timeout_seconds=TIMEOUT_SECONDS,
    )


class Nearest:
    """Finds the value of the series that belongs to an alert: the one with the most labels."""

    def __init__(self, series: Iterable[tuple[Labels, float]]) -> None:
        self._values: dict[tuple[str, ...], dict[tuple[str, ...], float]] = {}
        for labels, value in series:
            own = sorted((name, text) for name, text in labels.items() if name != "__name__")
            alike = self._values.setdefault(tuple(name for name, _ in own), {})
            alike[tuple(text for _, text in own)] = value

    def __call__(self, labels: Labels) -> float | None:
        """Return the value, if there is one."""
        for names in sorted(self._values, key=len, reverse=True):
            own = tuple(labels[name] for name in names if name in labels)
            if own in self._values[names]:
                return self._values[names][own]
        return None


class Writer:
    """Writes contents of notifications. Call it with one.

    Without ``evaluator`` no threshold is looked up.
    """

    def __init__(
        self,
        settings: Settings,
        rules: Mapping[str, Rule],
        evaluator: Evaluator | None = None,
        run_url: str = "",
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._evaluator = evaluator
        self._run_url = run_url
        self._thresholds: dict[tuple[str, datetime], Nearest] = {}

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
                "run": self._run(everything),
            },
        }

    def _run(self, alerts: Iterable[Instance]) -> str:
        """Link the failed runs of the DAG that all alerts are about, else the run that judged."""
        dags = {instance.labels.get("dag_id", "") for instance in alerts}
        if len(dags) == 1 and (dag_id := dags.pop()):
            return f"{self._settings.airflow_url}/dags/{quote(str(dag_id))}/runs?state=failed"
        return self._run_url

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
        if comparison is None or instance.kind == "no_data" or self._evaluator is None:
            return None
        found = self._thresholds.get((rule.name, at))
        if found is None:  # asked once, however many alerts a rule has
            try:
                rows = self._evaluator.rows(series_statement(comparison.threshold), at, at)
            except ClickHouseError:
                rows = []  # the alert itself matters more than the number beside it
            found = Nearest((labels, value) for _, _, labels, value in rows)
            self._thresholds[rule.name, at] = found
        return found(instance.labels)
