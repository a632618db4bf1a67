"""Rules and routes on their way in: checked, saved, seeded, and never half right."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import promql_parser

from millrace.alerts import matchers, promql, repository, templates
from millrace.alerts.evaluation import statement
from millrace.alerts.model import Inhibition, Route, Rule
from millrace.alerts.samples import OWN_PREFIX, TOTAL_SUFFIX
from millrace.contract import yaml_text
from millrace.contract.errors import RuleError
from millrace.settings import REPOSITORY

log = logging.getLogger(__name__)

SEEDS = REPOSITORY / "include" / "seeds" / "alert_rules.yaml"
NAME = re.compile(r"[a-z][a-z0-9_]*")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
RESERVED_LABELS = ("alertname", "severity", "owner", "condition", "__name__")
DOCUMENT = {
    "name": "name",
    "expression": "expression",
    "for": "for_seconds",
    "severity": "severity",
    "owner": "owner",
    "runbook": "runbook",
    "routes": "routes",
    "labels": "labels",
    "annotations": "annotations",
    "no_data": "no_data",
    "no_data_for": "no_data_for_seconds",
    "enabled": "is_active",
}
"""What a rule's YAML calls the attributes of ``Rule``."""
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 31_536_000}
LONGEST = UNITS["y"]
CONFIG = {"slack": ["channel"], "pagerduty": [], "webhook": [], "email": ["to"]}


def seconds(key: str, value: object) -> int:
    """Return a duration (``5m``, ``1h30m`` or a number of seconds) in seconds."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    # The parser panics at what is no duration of its own, and at one beyond its own numbers.
    if not is_number and not re.fullmatch(r"(\d+[smhdwy])+", str(value), re.ASCII):
        raise RuleError(f"{key}: {value!r} is no duration; write for example 5m")
    parts = [(str(value), "s")] if is_number else re.findall(r"(\d+)([smhdwy])", str(value))
    if any(len(n) > 12 for n, _ in parts) or sum(int(n) * UNITS[u] for n, u in parts) > LONGEST:
        raise RuleError(f"{key}: {str(value)[:40]} is longer than a year")
    if isinstance(value, int) and is_number:
        return value
    if not any(int(n) for n, _ in parts):  # which the parser takes for a mistake
        return 0
    try:
        return round(promql_parser.parse_duration(str(value)).total_seconds())
    except ValueError as error:
        raise RuleError(f"{key}: {value!r} is no duration; write for example 5m") from error


@dataclass(frozen=True)
class Metric:
    """A published metric: its kind (``sum`` or ``gauge``), its windows' length, its labels.

    ``dimensions`` is None where they are not known.
    """

    kind: str
    grain_seconds: int
    dimensions: frozenset[str] | None = None


def check(
    rule: Rule, route_names: Sequence[str], metrics: Mapping[str, Metric] | None = None
) -> Rule:
    """Return the rule if it can run. Raises ``RuleError`` naming the field and the reason.

    ``metrics`` are the published ones by name; given, a rule must ask for known ones, and look back
    as far as their windows are long.
    """
    _check_fields(rule)
    try:
        statement([rule])
    except promql.UnsupportedError as error:
        raise RuleError(f"expression: {error}") from error
    if metrics is not None:
        _check_metrics(rule, metrics)
    _check_labels(rule)
    unknown = [name for name in rule.routes if name not in route_names]
    if unknown:
        known = ", ".join(route_names) or "none; seed or add one first"
        raise RuleError(f"routes: no route is called {', '.join(unknown)} (there are: {known})")
    return rule


def _check_fields(rule: Rule) -> None:
    if not NAME.fullmatch(rule.name):
        raise RuleError(f"name: {rule.name!r} must be lower case letters, digits and _")
    if rule.severity not in ("info", "warning", "error", "critical"):
        raise RuleError(f"severity: {rule.severity!r} is not info, warning, error or critical")
    if rule.no_data not in ("alert", "ignore"):
        raise RuleError(f"no_data: {rule.no_data!r} is neither alert nor ignore")
    for key, value in (("for", rule.for_seconds), ("no_data_for", rule.no_data_for_seconds)):
        if value < 0:
            raise RuleError(f"{key}: {value} is negative")
    for key, text in (("owner", rule.owner), ("runbook", rule.runbook)):
        if not text.strip():
            raise RuleError(f"{key}: must not be empty; whoever is woken needs it")
    is_address = rule.runbook.startswith(("http://", "https://"))
    if not is_address and not _is_file(rule.runbook):
        raise RuleError(
            f"runbook: there is no file {rule.runbook}; write an https:// address, or a path such "
            "as docs/runbooks/no_events.md"
        )


def _is_file(path: str) -> bool:
    try:
        return (REPOSITORY / path).is_file()
    except OSError:  # no name that a file could have
        return False


def _check_labels(rule: Rule) -> None:
    for name in rule.labels:
        if not LABEL.fullmatch(name) or name in RESERVED_LABELS:
            raise RuleError(f"labels: {name!r} is no label name or is reserved")
    for name, text in rule.annotations.items():
        try:
            templates.check(text)
        except ValueError as error:
            raise RuleError(f"annotations.{name}: {error}") from error


def _check_metrics(rule: Rule, metrics: Mapping[str, Metric]) -> None:
    for selector in rule.parsed.selectors:
        name = selector.query.name
        if name is None or name.startswith(OWN_PREFIX):
            continue
        metric = metrics.get(name)
        base = metrics.get(name.removesuffix(TOTAL_SUFFIX))
        if metric is None and base is not None and base.kind == "sum":
            metric = base
        if metric is None:
            known = ", ".join(sorted(metrics)) or "none yet"
            raise RuleError(f"expression: no metric is called {name} (published: {known})")
        for label, _, _ in selector.query.matchers:
            if metric.dimensions is not None and label not in metric.dimensions:
                known = ", ".join(sorted(metric.dimensions)) or "none"
                raise RuleError(f"expression: {name} has no label {label} (it has: {known})")
        if selector.window_ms < metric.grain_seconds * 1000:
            grain = _duration(metric.grain_seconds)
            raise RuleError(
                f"expression: {name} has a value every {grain}, and {selector.text} looks back "
                f"{_duration(selector.window_ms // 1000)}: most of the time it would find none. "
                f"Write last_over_time({name}[{grain}]), or a range of at least {grain}"
            )


def check_route(route: Route) -> Route:
    """Return the route if it is complete. Raises ``RuleError``."""
    if route.kind not in CONFIG:
        raise RuleError(f"route {route.name}: kind {route.kind!r} is not one of {list(CONFIG)}")
    missing = [key for key in CONFIG[route.kind] if not route.config.get(key)]
    if missing:
        raise RuleError(f"route {route.name}: config needs {', '.join(missing)}")
    if route.repeat_interval_seconds <= 0:
        raise RuleError(f"route {route.name}: a reminder comes after a while, such as 4h")
    return route


def from_document(document: Mapping[str, Any], defaults: Mapping[str, Any]) -> Rule:
    """Return a rule from its YAML form. Raises ``RuleError`` for a field that it does not have."""
    values = {**defaults, **document}
    name = str(values.get("name", "?"))
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        attribute = DOCUMENT.get(key)
        if attribute is None:
            raise RuleError(f"rule {name}: there is no field {key!r} (there are: {[*DOCUMENT]})")
        arguments[attribute] = _value(name, key, attribute, value)
    required = ("name", "expression", "severity", "owner", "runbook", "routes")
    missing = [key for key in required if key not in arguments]
    if missing:
        raise RuleError(f"rule {name}: {', '.join(missing)} missing")
    return Rule(**arguments)


def _value(rule: str, key: str, attribute: str, value: Any) -> Any:
    """Return a field's value as ``Rule`` has it. Raises ``RuleError`` where it is of another kind.

    YAML takes ``5``, ``no`` and an empty line for what they are not meant to be.
    """
    if attribute.endswith("_seconds"):
        return seconds(key, value)
    if attribute == "is_active":
        is_right, kind = isinstance(value, bool), "true or false"
    elif attribute == "routes":
        is_right = isinstance(value, list) and all(isinstance(one, str) for one in value)
        kind = "a list of routes' names"
    elif attribute in ("labels", "annotations"):
        pairs = value.items() if isinstance(value, dict) else [(None, None)]
        is_right = all(isinstance(part, str) for pair in pairs for part in pair)
        kind = "a mapping of names to texts, which quotes make"
    else:
        is_right, kind = isinstance(value, str), "a text, which quotes make of it"
    if not is_right:
        raise RuleError(f"rule {rule}: {key}: {value!r} is not {kind}")
    return value


def find(connection: repository.Connection, name: str) -> Rule:
    """Return a rule. Raises ``RuleError`` if there is none of that name."""
    rules = {rule.name: rule for rule in repository.load_rules(connection)}
    if name not in rules:
        raise RuleError(f"no rule is called {name} (there are: {', '.join(rules) or 'none'})")
    return rules[name]


def switch(connection: repository.Connection, name: str, *, on: bool) -> None:
    """Switch a rule on or off; what one that is off fires resolves. Raises ``RuleError``."""
    find(connection, name)
    connection.execute("UPDATE alert_rules SET is_active = %s WHERE name = %s", [on, name])


def remove(connection: repository.Connection, name: str) -> None:
    """Remove a rule; what it fires resolves. Raises ``RuleError``, also for a built-in rule."""
    if find(connection, name).seed_digest:
        raise RuleError(f"{name} is built in and would come back; disable it instead")
    connection.execute("DELETE FROM alert_rules WHERE name = %s", [name])


def to_document(rule: Rule) -> dict[str, Any]:
    """Return a rule's YAML form, which ``from_document`` takes."""
    return {
        key: _duration(getattr(rule, name)) if name.endswith("_seconds") else getattr(rule, name)
        for key, name in DOCUMENT.items()
    }


def _duration(seconds: int) -> str:
    return f"{seconds // 60}m" if seconds and seconds % 60 == 0 else f"{seconds}s"


def load_seeds(path: Path = SEEDS) -> tuple[list[Route], list[Inhibition], list[Rule]]:
    """Return the routes, inhibitions and rules of a seed file. Raises ``RuleError``."""
    document = yaml_text.load(path.read_text(encoding="utf-8"))
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
    return (
        routes,
        inhibitions,
        [check(replace(rule, seed_digest=rule.digest), names) for rule in rules],
    )


@dataclass(frozen=True)
class Seeding:
    """Names of built-in rules: those added or brought up to date, and those left as they are."""

    changed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def seed(
    connection: repository.Connection, path: Path = SEEDS, *, reset: Collection[str] = ()
) -> Seeding:
    """Bring the built-in routes, inhibitions and rules in.

    What an operator chose outlives an upgrade: routes that exist are left alone (their channels
    are this installation's), so are whether a rule is active and its routes, and so is a whole
    rule that says something else than the one that was brought in last, unless ``reset`` names it.
    """
    routes, inhibitions, rules = load_seeds(path)
    seeding = Seeding()
    with connection.transaction():
        repository.act_as(connection, "seed")
        known_routes = {route.name for route in repository.load_routes(connection)}
        for route in routes:
            if route.name not in known_routes:
                repository.save_route(connection, route)
        for inhibition in inhibitions:
            connection.execute(repository.query("save_inhibition"), asdict(inhibition))
        existing = {rule.name: rule for rule in repository.load_rules(connection)}
        for rule in rules:
            old = existing.get(rule.name)
            if old is None:
                wanted = rule
            elif old.digest in (old.seed_digest, rule.digest) or rule.name in reset:
                wanted = replace(
                    rule, is_active=old.is_active, routes=old.routes, created_at=old.created_at
                )
            else:
                seeding.kept.append(rule.name)
                if rule.digest != old.seed_digest:
                    log.warning(
                        "the built-in rule %s was changed here and is kept as it is; "
                        "`./millrace alerts seed --reset %s` brings in the new one",
                        rule.name,
                        rule.name,
                    )
                continue
            if wanted != old:
                repository.save_rule(connection, wanted)
                seeding.changed.append(rule.name)
    return seeding
