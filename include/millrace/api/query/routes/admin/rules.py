"""Rules at the gate: added, tried on the past, changed, switched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from millrace.access.roles import Principal
from millrace.api.query.concurrency import Edit, answer, kept_in, tagged
from millrace.api.query.idempotency import DoneOnce
from millrace.api.query.identity import Admin, Operator
from millrace.api.query.pages import Page, PageOf
from millrace.api.query.problems import declared
from millrace.api.query.routes.admin import sources
from millrace.api.query.routes.admin.fields import (
    Change,
    Document,
    Named,
    Sent,
    may_see,
    missing,
    refuse,
    refusing,
)
from millrace.api.query.service import Connection, ServiceOf
from millrace.contract.errors import RuleError
from millrace.rules import gate, hits, store, trial
from millrace.rules import model as rule_model
from millrace.rules.model import MOST_PRIORITY
from millrace.stores.errors import first_line

router = APIRouter(prefix="/v1/rules", tags=["rules"])

MOST_SECONDS = 30
"""How long a dry run may take."""
MOST_HOURS = 24 * 7

Mode = Literal["enforce", "warn", "shadow"]
Priority = Annotated[int, Field(ge=-MOST_PRIORITY, le=MOST_PRIORITY)]
RULE_SCHEMA = "Its JSON Schema is include/millrace/rules/processing_rule.schema.json."


class RuleBody(Sent):
    """What a rule says."""

    rule_type: Literal["validation", "transformation", "aggregation"]
    config: Annotated[Document, Field(description=RULE_SCHEMA)]
    source_id: Annotated[str | None, Field(description="null: every source")] = None
    event_type: Annotated[str | None, Field(description="null: every type")] = None
    mode: Mode = "enforce"
    priority: Priority = 100


class NewRule(RuleBody):
    """A rule to be added."""

    name: Annotated[str, Field(max_length=200)]


class Rule(BaseModel):
    """A rule."""

    name: str
    rule_type: str
    config: dict[str, Any]
    source_id: str | None
    event_type: str | None
    mode: Mode
    priority: int
    is_active: bool
    version: int


class CountedRule(Rule):
    """A rule, and how often it hit; null while ClickHouse is away."""

    hits_in_24_h: int | None


class RuleChange(Change):
    """How a rule acts: whether it does, how, and after which others."""

    mode: Mode | None = None
    is_active: bool | None = None
    priority: Priority | None = None


class DryRun(Sent):
    """Which rule is to be tried, of which messages."""

    rule: Annotated[NewRule | str, Field(description="The name of one, or one that is not saved.")]
    source_id: str = "events"
    hours: Annotated[float, Field(gt=0, le=MOST_HOURS, description="How far back, by arrival.")] = (
        24
    )


class Trial(BaseModel):
    """What the rule would have hit among the messages that the other rules let pass."""

    judged: int
    hits: int
    examples: list[dict[str, Any]]


@router.get("", responses=declared(401, 403, 422))
def list_rules(who: Operator, service: ServiceOf, asked: PageOf) -> Page[CountedRule]:
    """List the rules with how many messages of the last day each hit."""
    with service.connection() as connection:
        found = [
            (rule, active)
            for rule, active in store.all_rules(connection)
            if may_see(who, rule.source_id)
        ]
    try:
        counted: dict[str, int] | None = hits.of_last_day(service.settings)
    except OperationalError:
        counted = None
    items, cursor = asked.sort(found, lambda pair: pair[0].name)
    return Page(
        items=[
            CountedRule(
                **_rule(rule, active).model_dump(),
                hits_in_24_h=None if counted is None else counted.get(rule.name, 0),
            )
            for rule, active in items
        ],
        next=cursor,
    )


@router.post("", status_code=201, response_model=Rule, responses=declared(401, 403, 409, 422, 503))
def add_rule(new: NewRule, who: Admin, service: ServiceOf, once: DoneOnce) -> Response:
    """Add a rule and compile the gates with it; one that makes no gate that runs is refused."""

    def work(connection: Connection) -> Response:
        _find.claim(connection, new.name, "a rule")
        with refusing(RuleError, code="invalid_rule", body=new):
            store.put_rule(connection, rule_model.Rule(**new.model_dump()))
            gate.compile_all(connection, service.settings)
        return answer(_find(connection, new.name, who), 201, f"{router.prefix}/{new.name}")

    return once.run(who, work)


@router.post("/dry-run", responses=declared(401, 403, 404, 422, 503))
def try_rule(wanted: DryRun, who: Operator, service: ServiceOf) -> Trial:
    """Say what a validation would have hit among the last messages, with some of them.

    Nothing is changed; it takes 30 seconds at most.
    """
    with service.connection() as connection:
        sources.find(connection, wanted.source_id, who)
        if isinstance(wanted.rule, str):
            _find(connection, wanted.rule, who)
            rule = store.find_rule(connection, wanted.rule)
        else:
            rule = rule_model.Rule(**wanted.rule.model_dump())
    with refusing(RuleError, code="invalid_rule", body=wanted), _in_time():
        rule_model.validate(rule)
        found = trial.of_last_hours(
            service.settings, rule, wanted.source_id, wanted.hours, most_seconds=MOST_SECONDS
        )
    return Trial(judged=found.judged, hits=found.hits, examples=found.examples)


@contextmanager
def _in_time() -> Iterator[None]:
    try:
        yield
    except OperationalError:
        raise
    except DatabaseError as error:
        if "TIMEOUT_EXCEEDED" in str(error):
            detail = f"it takes longer than {MOST_SECONDS} s: try fewer hours"
            refuse("too_slow", detail, "/body/hours")
        refuse("invalid_rule", f"ClickHouse refuses it: {first_line(error, 500)}", "/body/rule")


@router.get("/{name}", responses=declared(401, 403, 404, 422))
def show_rule(name: Named, who: Operator, service: ServiceOf, response: Response) -> Rule:
    """Show a rule."""
    with service.connection() as connection:
        return tagged(response, _find(connection, name, who))


@router.put("/{name}", responses=declared(401, 403, 404, 412, 422, 428, 503))
def replace_rule(name: Named, body: RuleBody, who: Admin, edit: Edit) -> Rule:
    """Replace a rule; it is as active as it was, and its version grows."""
    with edit.of(_find, name, who) as it:
        with refusing(RuleError, code="invalid_rule", body=body):
            store.put_rule(it.connection, rule_model.Rule(name=name, **body.model_dump()))
            gate.compile_all(it.connection, edit.service.settings)
        return it.show()


@router.patch("/{name}", responses=declared(401, 403, 404, 412, 422, 428, 503))
def switch_rule(name: Named, change: RuleChange, who: Admin, edit: Edit) -> Rule:
    """Switch a rule on or off, from shadow to enforce, or to another place among the others."""
    with edit.of(_find, name, who) as it:
        with refusing(RuleError, code="invalid_rule", body=change):
            for column, value in change.wanted().items():
                store.set_column(it.connection, name, column, value)  # type: ignore[arg-type]
            gate.compile_all(it.connection, edit.service.settings)
        return it.show()


@router.delete("/{name}", status_code=204, responses=declared(401, 403, 404, 412, 422, 428, 503))
def remove_rule(name: Named, who: Admin, edit: Edit) -> None:
    """Delete a rule; the audit log keeps it."""
    with edit.of(_find, name, who) as it, refusing(RuleError, code="invalid_rule"):
        store.remove_rule(it.connection, name)
        gate.compile_all(it.connection, edit.service.settings)


@kept_in("processing_rules")
def _find(connection: Connection, name: str, who: Principal) -> Rule:
    for rule, active in store.all_rules(connection):
        if rule.name == name and may_see(who, rule.source_id):
            return _rule(rule, active)
    raise missing("rule", name)


def _rule(rule: rule_model.Rule, active: bool) -> Rule:
    return Rule(**rule.as_json(), is_active=active)
