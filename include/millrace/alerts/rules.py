"""Rules and routes on their way in: checked, saved, seeded, and never half right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from millrace.alerts import matchers, promql, repository, templates
from millrace.alerts.evaluation import statement
from millrace.alerts.model import Inhibition, Route, Rule
from millrace.alerts.samples import OWN_PREFIX, TOTAL_SUFFIX
from millrace.settings import REPOSITORY

SEEDS = REPOSITORY / "include" / "seeds" / "alert_rules.yaml"
NAME = re.compile(r"[a-z][a-z0-9_]*")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
RESERVED_LABELS = ("alertname", "severity", "owner", "condition", "__name__")
CONFIG = {"slack": ["channel"], "pagerduty": [], "webhook": [], "email": ["to"]}


class RuleError(ValueError):
    """A rule that is refused. The message names the field and the reason."""


def seconds(field: str, value: object) -> int:
    """Return a duration (``5m``, ``1h30m`` or a number of seconds) in seconds."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return round(promql_parser.parse_duration(str(value)).total_seconds())
    except ValueError as error:
        raise RuleError(f"{field}: {value!r} is no duration; write for example 5m") from error


def check(rule: Rule, route_names: Sequence[str], metrics: Mapping[str, str] | None = None) -> Rule:
    """Return the rule if it can run. Raises ``RuleError`` naming the field and the reason.

    ``metrics`` maps the published metrics to their kinds; given, a rule must ask for known ones.
    """
    if not NAME.fullmatch(rule.name):
        raise RuleError(f"name: {rule.name!r} must be lower case letters, digits and _")
    try:
        statement(rule)
    except promql.UnsupportedError as error:
        raise RuleError(f"expression: {error}") from error
    if metrics is not None:
        _check_metrics(rule, metrics)
    if rule.severity not in ("info", "warning", "error", "critical"):
        raise RuleError(f"severity: {rule.severity!r} is not info, warning, error or critical")
    if rule.no_data not in ("alert", "ignore"):
        raise RuleError(f"no_data: {rule.no_data!r} is neither alert nor ignore")
    for field, value in (("for", rule.for_seconds), ("no_data_for", rule.no_data_for_seconds)):
        if value < 0:
            raise RuleError(f"{field}: {value} is negative")
    for field, text in (("owner", rule.owner), ("runbook", rule.runbook)):
        if not text.strip():
            raise RuleError(f"{field}: must not be empty; whoever is woken needs it")
    for name in rule.labels:
        if not LABEL.fullmatch(name) or name in RESERVED_LABELS:
            raise RuleError(f"labels: {name!r} is no label name or is reserved")
    for name, text in rule.annotations.items():
        try:
            templates.check(text)
        except ValueError as error:
            raise RuleError(f"annotations.{name}: {error}") from error
    unknown = [name for name in rule.routes if name not in route_names]
    if unknown:
        known = ", ".join(route_names) or "none; seed or add one first"
        raise RuleError(f"routes: no route is called {', '.join(unknown)} (there are: {known})")
    return rule


def _check_metrics(rule: Rule, metrics: Mapping[str, str]) -> None:
    for selector in rule.parsed.selectors:
        name = selector.name
        if name is None or name.startswith(OWN_PREFIX) or name in metrics:
            continue
        base = name.removesuffix(TOTAL_SUFFIX)
        if base != name and metrics.get(base) == "sum":
            continue
        known = ", ".join(sorted(metrics)) or "none yet"
        raise RuleError(f"expression: no metric is called {name} (published: {known})")


def check_route(route: Route) -> Route:
    """Return the route if it is complete. Raises ``RuleError``."""
    if route.kind not in CONFIG:
        raise RuleError(f"route {route.name}: kind {route.kind!r} is not one of {list(CONFIG)}")
    missing = [key for key in CONFIG[route.kind] if not route.config.get(key)]
    if missing:
        raise RuleError(f"route {route.name}: config needs {', '.join(missing)}")
    return route


def from_document(document: Mapping[str, Any], defaults: Mapping[str, Any]) -> Rule:
    """Return a rule from its YAML form. Raises ``RuleError`` for a field that it does not have."""
    values = {**defaults, **document}
    name = str(values.get("name", "?"))
    renamed = {"for": "for_seconds", "no_data_for": "no_data_for_seconds", "enabled": "is_active"}
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        field = renamed.get(key, key)
        if field not in {f.name for f in fields(Rule)}:
            raise RuleError(f"rule {name}: there is no field {key!r}")
        arguments[field] = seconds(key, value) if field.endswith("_seconds") else value
    required = ("name", "expression", "severity", "owner", "runbook", "routes")
    missing = [field for field in required if field not in arguments]
    if missing:
        raise RuleError(f"rule {name}: {', '.join(missing)} missing")
    return Rule(**arguments)


def load_seeds(path: Path = SEEDS) -> tuple[list[Route], list[Inhibition], list[Rule]]:
    """Return the routes, inhibitions and rules of a seed file. Raises ``RuleError``."""
    document = yaml.safe_load(path.read_text())
    routes = []
    for item in document["routes"]:
        values = {
            f"{key}_seconds" if key.endswith(("_wait", "_interval")) else key: value
            for key, value in item.items()
        }
        durations = {k: seconds(k, v) for k, v in values.items() if k.endswith("_seconds")}
        routes.append(check_route(Route(**{**values, **durations})))
    inhibitions = [Inhibition(**item) for item in document["inhibitions"]]
    for inhibition in inhibitions:
        matchers.check(inhibition.source)
        matchers.check(inhibition.target)
    names = [route.name for route in routes]
    rules = [from_document(item, document["defaults"]) for item in document["rules"]]
    return routes, inhibitions, [check(replace(r, is_builtin=True), names) for r in rules]


def seed(connection: repository.Connection, path: Path = SEEDS) -> list[str]:
    """Bring the built-in routes, inhibitions and rules in; return the names of rules that changed.

    Routes that exist are left alone (their channels are this installation's), and so are whether a
    rule is active and its routes: what an operator chose outlives an upgrade.
    """
    routes, inhibitions, rules = load_seeds(path)
    changed = []
    with connection.transaction():
        repository.act_as(connection, "seed")
        known_routes = {route.name for route in repository.load_routes(connection)}
        for route in routes:
            if route.name not in known_routes:
                repository.save_route(connection, route)
        for inhibition in inhibitions:
            connection.execute(
                "INSERT INTO alert_inhibitions (name, source, target, equal) "
                "VALUES (%s, %s, %s, %s) ON CONFLICT (name) DO UPDATE SET "
                "source = excluded.source, target = excluded.target, equal = excluded.equal",
                [inhibition.name, inhibition.source, inhibition.target, inhibition.equal],
            )
        existing = {rule.name: rule for rule in repository.load_rules(connection)}
        for rule in rules:
            old = existing.get(rule.name)
            if old is not None and not old.is_builtin:
                continue  # someone made it their own
            wanted = rule
            if old is not None:
                wanted = replace(
                    rule, is_active=old.is_active, routes=old.routes, created_at=old.created_at
                )
            if wanted != old:
                repository.save_rule(connection, wanted)
                changed.append(rule.name)
    return changed
