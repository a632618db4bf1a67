"""Alert rules: added, changed, switched, removed, and how they stand."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal, NoReturn

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from millrace.access.roles import Principal
from millrace.alerts import model, overview, replay, repository
from millrace.alerts import rules as alert_rules
from millrace.api.http import ProblemError
from millrace.api.query.concurrency import Edit, answer, kept_in, tagged
from millrace.api.query.idempotency import DoneOnce
from millrace.api.query.identity import Admin, Operator
from millrace.api.query.pages import Page, PageOf
from millrace.api.query.problems import declared
from millrace.api.query.routes.admin.fields import Change, Named, Sent, missing, refuse, refusing
from millrace.api.query.service import Connection, ServiceOf
from millrace.contract.errors import RuleError

router = APIRouter(prefix="/v1/alert-rules", tags=["alerts"])

MOST_TRANSITIONS = 1000

Duration = Annotated[
    str | int,
    Field(union_mode="left_to_right", description="Such as 5m, or a number of seconds."),
]
Short = Annotated[str, Field(max_length=200)]
Labels = Annotated[dict[Short, Annotated[str, Field(max_length=4000)]], Field(max_length=50)]


class AlertRuleBody(Sent):
    """What an alert rule says, as its YAML has it (docs/alerts.md)."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True)

    expression: Annotated[str, Field(max_length=10_000, examples=["rejected_ratio > 0.05"])]
    for_: Annotated[Duration, Field(alias="for")] = "0s"
    severity: model.Severity
    owner: Short
    runbook: Annotated[Short, Field(description="An https address, or docs/runbooks/….md.")]
    routes: Annotated[list[Short], Field(max_length=50)]
    labels: Labels = {}  # noqa: RUF012 - pydantic copies it
    annotations: Labels = {}  # noqa: RUF012 - pydantic copies it
    no_data: Literal["alert", "ignore"] = "alert"
    no_data_for: Duration = "10m"
    enabled: bool = True


class NewAlertRule(AlertRuleBody):
    """An alert rule to be added."""

    name: Short


class AlertRule(BaseModel):
    """An alert rule."""

    model_config = ConfigDict(serialize_by_alias=True)

    name: str
    expression: str
    for_: Annotated[str, Field(alias="for")]
    severity: model.Severity
    owner: str
    runbook: str
    routes: list[str]
    labels: dict[str, str]
    annotations: dict[str, str]
    no_data: Literal["alert", "ignore"]
    no_data_for: str
    enabled: bool
    is_built_in: bool


class Alert(BaseModel):
    """An alert of a rule, as it is now."""

    kind: Literal["condition", "no_data"]
    state: Literal["pending", "firing"]
    labels: dict[str, str]
    value: float | str | None
    active_since: datetime
    held_back: Annotated[str, Field(description="Why nobody is told: a silence, another alert.")]


class StandingRule(AlertRule):
    """An alert rule, and how it stands now."""

    state: Annotated[str, Field(examples=["firing", "inactive, no data", "off"])]
    alerts: list[Alert]


class DryRun(Sent):
    """Which rule is to be tried, and how far back."""

    rule: Annotated[
        NewAlertRule | str, Field(description="The name of one, or one that is not saved.")
    ]
    hours: Annotated[int, Field(ge=1, le=48)] = 6


class Transition(BaseModel):
    """A change of an alert's state."""

    at: datetime
    from_state: str
    to_state: str
    labels: dict[str, str]
    value: float | str | None


class Trial(BaseModel):
    """What a rule would have done, judged by the samples as they are now."""

    minutes: int
    minutes_active: int
    minutes_without_data: int
    minutes_failed: int
    fired: int
    transitions: Annotated[list[Transition], Field(description="The first 1,000.")]
    errors: list[str]


class AlertRuleChange(Change):
    """Whether a rule is judged."""

    enabled: bool | None = None


@router.get("", responses=declared(401, 403, 422))
def list_alert_rules(_who: Operator, service: ServiceOf, asked: PageOf) -> Page[StandingRule]:
    """List the alert rules, with what is pending or firing now and what is held back."""
    with service.connection() as connection:
        rules = repository.load_rules(connection)
        standings = {one.rule: one for one in overview.standings(connection)}
    items, cursor = asked.sort(
        [rule for rule in rules if rule.name in standings], lambda rule: rule.name
    )
    return Page(
        items=[
            StandingRule(
                **_values(rule),
                state=standings[rule.name].state,
                alerts=[Alert(**one) for one in standings[rule.name].alerts],
            )
            for rule in items
        ],
        next=cursor,
    )


@router.post(
    "", status_code=201, response_model=AlertRule, responses=declared(401, 403, 409, 422, 503)
)
def add_alert_rule(new: NewAlertRule, who: Admin, service: ServiceOf, once: DoneOnce) -> Response:
    """Add an alert rule; it is judged from the next minute on."""

    def work(connection: Connection) -> Response:
        _find.claim(connection, new.name, "an alert rule")
        _save(connection, service, new.name, new)
        return answer(_find(connection, new.name, who), 201, f"{router.prefix}/{new.name}")

    return once.run(who, work)


@router.post("/dry-run", responses=declared(401, 403, 404, 422, 503))
def try_alert_rule(wanted: DryRun, who: Operator, service: ServiceOf) -> Trial:
    """Say when a rule would have fired in the last hours; nothing is changed."""
    if who.sources is not None or who.datasets is not None:
        raise ProblemError(
            403,
            "not_allowed",
            "A rule reads the numbers of all sources, and you may see a part only. "
            "An admin gives rights: ./millrace users list, ./millrace tokens list.",
        )
    if isinstance(wanted.rule, str):
        with service.connection() as connection:
            _find(connection, wanted.rule, who)
            rule = alert_rules.find(connection, wanted.rule)
    else:
        with service.connection() as connection:
            rule = _checked(connection, service, wanted.rule.name, wanted.rule)
    found = replay.of_last_hours(service.settings, rule, wanted.hours)
    changes = [
        Transition(
            at=one.evaluated_at,
            from_state=one.from_state,
            to_state=one.to_state,
            labels=one.instance.labels,
            value=model.as_json(one.instance.value),
        )
        for one in found.transitions
    ]
    return Trial(
        minutes=found.minutes,
        minutes_active=found.minutes_active,
        minutes_without_data=found.minutes_without_data,
        minutes_failed=len(found.errors),
        fired=sum(one.to_state == "firing" for one in changes),
        transitions=changes[:MOST_TRANSITIONS],
        errors=sorted(set(found.errors.values()))[:3],
    )


@router.get("/{name}", responses=declared(401, 403, 404, 422))
def show_alert_rule(
    name: Named, who: Operator, service: ServiceOf, response: Response
) -> AlertRule:
    """Show an alert rule."""
    with service.connection() as connection:
        return tagged(response, _find(connection, name, who))


@router.put("/{name}", responses=declared(401, 403, 404, 412, 422, 428, 503))
def replace_alert_rule(name: Named, body: AlertRuleBody, who: Admin, edit: Edit) -> AlertRule:
    """Replace an alert rule. An upgrade leaves a built-in rule as it is then."""
    with edit.of(_find, name, who) as it:
        _save(it.connection, edit.service, name, body)
        return it.show()


@router.patch("/{name}", responses=declared(401, 403, 404, 412, 422, 428))
def switch_alert_rule(name: Named, change: AlertRuleChange, who: Admin, edit: Edit) -> AlertRule:
    """Switch an alert rule on or off; what one that is off fires resolves within a minute."""
    with edit.of(_find, name, who) as it:
        if change.enabled is not None:
            alert_rules.switch(it.connection, name, on=change.enabled)
        return it.show()


@router.delete("/{name}", status_code=204, responses=declared(401, 403, 404, 409, 412, 422, 428))
def remove_alert_rule(name: Named, who: Admin, edit: Edit) -> None:
    """Remove an alert rule; one that is built in would come back, and is switched off instead."""
    with edit.of(_find, name, who) as it:
        if it.found.is_built_in:
            detail = f"{name} is built in and would come back; switch it off instead"
            refuse("built_in", detail, status=409)
        alert_rules.remove(it.connection, name)


def _save(connection: Connection, service: ServiceOf, name: str, body: AlertRuleBody) -> None:
    rule = _checked(connection, service, name, body)
    known = {one.name: one for one in repository.load_rules(connection)}
    seed_digest = known[name].seed_digest if name in known else ""
    repository.save_rule(connection, replace(rule, seed_digest=seed_digest))


def _checked(
    connection: Connection, service: ServiceOf, name: str, body: AlertRuleBody
) -> model.Rule:
    document = body.model_dump(by_alias=True) | {"name": name}
    with refusing(RuleError, code="invalid_alert_rule", body=body):
        try:
            rule = alert_rules.from_document(document, {})
            routes = [route.name for route in repository.load_routes(connection)]
            metrics = overview.published_metrics(service.settings)
            return alert_rules.check(rule, routes, metrics)
        except RuleError as error:
            _without_name(error, name)


def _without_name(error: RuleError, name: str) -> NoReturn:
    raise RuleError(str(error).removeprefix(f"rule {name}: ")) from error


@kept_in("alert_rules")
def _find(connection: Connection, name: str, _who: Principal) -> AlertRule:
    for rule in repository.load_rules(connection):
        if rule.name == name:
            return AlertRule(**_values(rule))
    raise missing("alert rule", name)


def _values(rule: model.Rule) -> dict[str, Any]:
    return alert_rules.to_document(rule) | {"is_built_in": bool(rule.seed_digest)}
