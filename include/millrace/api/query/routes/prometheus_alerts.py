"""Alert rules and alerts as Prometheus' HTTP API lists them; Grafana shows them beside its own."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from millrace.access.roles import Principal
from millrace.alerts import overview, repository, templates
from millrace.alerts.model import Instance, Rule, as_json
from millrace.alerts.overview import STATES
from millrace.api.query.identity import Viewer
from millrace.api.query.routes.prometheus import REFUSALS, PrometheusRoute
from millrace.api.query.service import Connection, Service, ServiceOf

router = APIRouter(
    prefix="/api/v1", tags=["Prometheus"], route_class=PrometheusRoute, responses=REFUSALS
)

State = Literal["inactive", "pending", "firing"]
GROUP, FILE = "millrace", "alert_rules"
"""All rules are judged together, once a minute, and are rows of the table ``alert_rules``."""
INTERVAL_SECONDS = 60.0


class Alert(BaseModel):
    """An alert that is pending or firing."""

    labels: dict[str, str]
    annotations: dict[str, str]
    state: State
    activeAt: datetime  # noqa: N815  Prometheus' name
    value: str


class AlertingRule(BaseModel):
    """A rule that is on, and its alerts."""

    type: Literal["alerting"] = "alerting"
    state: State
    name: str
    query: str
    duration: float = Field(description="Seconds for which it must hold before it fires.")
    labels: dict[str, str]
    annotations: dict[str, str]
    alerts: list[Alert]
    health: Literal["ok", "err", "unknown"] = Field(
        description="err: without data it can't be judged; unknown: nothing was judged yet."
    )
    lastError: str = ""  # noqa: N815  Prometheus' name
    lastEvaluation: datetime | None  # noqa: N815  Prometheus' name
    evaluationTime: float = 0.0  # noqa: N815  Prometheus' name


class Group(BaseModel):
    """Rules that are judged together."""

    name: str = GROUP
    file: str = FILE
    interval: float = INTERVAL_SECONDS
    rules: list[AlertingRule]
    lastEvaluation: datetime | None  # noqa: N815  Prometheus' name
    evaluationTime: float = 0.0  # noqa: N815  Prometheus' name


class Groups(BaseModel):
    """Groups of rules."""

    groups: list[Group]


class Rules(BaseModel):
    """The rules that are on."""

    status: Literal["success"] = "success"
    data: Groups


class Listed(BaseModel):
    """Alerts."""

    alerts: list[Alert]


class Alerts(BaseModel):
    """What is pending or firing."""

    status: Literal["success"] = "success"
    data: Listed


@router.get("/rules")
async def rules(
    service: ServiceOf,
    whose: Viewer,
    kind: Annotated[
        Literal["alert", "record"] | None,
        Query(alias="type", description="Which rules; there are none that record."),
    ] = None,
    names: Annotated[
        list[str], Query(alias="rule_name[]", max_length=100, description="Some rules only.")
    ] = [],  # noqa: B006  FastAPI copies it
) -> Rules:
    """List the alert rules that are on, with their alerts."""
    group = await _group(service, whose)
    chosen = [
        rule for rule in group.rules if kind != "record" and (rule.name in names or not names)
    ]
    group = group.model_copy(update={"rules": chosen})
    return Rules(data=Groups(groups=[group] if chosen else []))


@router.get("/alerts")
async def alerts(service: ServiceOf, whose: Viewer) -> Alerts:
    """List the alerts that are pending or firing."""
    group = await _group(service, whose)
    return Alerts(data=Listed(alerts=[alert for rule in group.rules for alert in rule.alerts]))


async def _group(service: Service, whose: Principal) -> Group:
    """Return all rules; none for those who may see some sources or datasets only."""
    if whose.sources is not None or whose.datasets is not None:
        return Group(rules=[], lastEvaluation=None)
    return await service.with_postgres(_read)


def _read(connection: Connection) -> Group:
    until = overview.judged_until(connection)
    instances = list(repository.load_instances(connection).values())
    found = [
        _rule(rule, [one for one in instances if one.rule_name == rule.name], until)
        for rule in repository.load_rules(connection)
        if rule.is_active
    ]
    return Group(rules=found, lastEvaluation=until)


def _rule(rule: Rule, mine: list[Instance], until: datetime | None) -> AlertingRule:
    is_without_data = any(one.kind == "no_data" for one in mine)
    return AlertingRule(
        state=max((one.state for one in mine), default="inactive", key=STATES.index),
        name=rule.name,
        query=rule.expression,
        duration=rule.for_seconds,
        labels={**rule.labels, "severity": rule.severity, "owner": rule.owner},
        annotations=rule.annotations,
        alerts=[_alert(rule, one) for one in mine],
        health="unknown" if until is None else "err" if is_without_data else "ok",
        lastError="There is no data to judge it by." if is_without_data else "",
        lastEvaluation=until,
    )


def _alert(rule: Rule, alert: Instance) -> Alert:
    # What an alert was compared with is computed for notifications only: texts that name it are
    # left out here.
    texts = {name: text for name, text in rule.annotations.items() if "threshold" not in text}
    return Alert(
        labels=alert.labels,
        annotations={
            name: templates.render(
                text, rule=rule.name, labels=alert.labels, value=alert.value, threshold=None
            )
            for name, text in texts.items()
        },
        state=alert.state,
        activeAt=alert.active_since,
        value="NaN" if alert.value is None else str(as_json(alert.value)),
    )
