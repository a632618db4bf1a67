"""Aggregation rules: numbers over accepted events, as metrics beside those of dbt.

They are views over ``events``, so late events and rebuilt days are in them at once, and a new rule
has its past. ``rule_metrics`` holds the numbers, ``rule_metric_definitions`` what they mean, and
``rule_metric_rollups`` how they are computed; the dbt models ``metrics``, ``metric_definitions``
and ``metric_rollups`` read them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.contract.errors import RuleError
from millrace.contract.fields import BY_NAME
from millrace.rules.comparisons import predicate
from millrace.rules.expressions import Fields
from millrace.rules.model import Rule
from millrace.settings import Settings
from millrace.stores import quoting, sql
from millrace.stores.errors import first_line
from millrace.stores.quoting import literal

VALUES = {
    "sum": "sumIf({number}, isFinite({number}))",
    "avg": "avgIf({number}, isFinite({number}))",
    "min": "minIf({number}, isFinite({number}))",
    "max": "maxIf({number}, isFinite({number}))",
    "uniq": "uniqExactIf({text}, {text} != '')",
}


class EventFields(Fields):
    """An event's fields read from the columns of ``events``, by the names that messages use."""

    def text(self, field: str) -> str:
        """Return the field's text; empty where it is absent."""
        known = BY_NAME.get(field)
        if known is None:
            return f"properties[{literal(field)}]"
        if known.reader == "time":
            return f"formatDateTime({known.column}, '%Y-%m-%dT%H:%i:%SZ')"
        function = "toJSONString" if known.reader == "object" else "toString"
        return f"{function}({known.column})"

    def time(self, field: str) -> str:
        """Return the field as DateTime64(3); null where it is no ISO 8601 time."""
        known = BY_NAME.get(field)
        if known is not None and known.reader == "time":
            return known.column
        return super().time(field)

    def define(self, hint: str, expression: str) -> str:
        """Return the expression itself: a view has no stages to name it in."""
        return f"({expression})"


@dataclass(frozen=True)
class Aggregation:
    """An aggregation rule as the parts of a SELECT over ``events``."""

    name: str
    meaning: str
    unit: str
    kind: str
    value: str
    minutes: int
    dimensions: dict[str, str]
    conditions: tuple[str, ...]
    present: str

    @property
    def condition(self) -> str:
        """Which events count; empty: all."""
        return " AND ".join(self.conditions)


def compile_aggregation(rule: Rule) -> Aggregation:
    """Return the parts of the SELECT that an aggregation rule is."""
    fields, config = EventFields(), rule.config
    of, minutes = config.get("field"), config["window_minutes"]
    conditions = []
    if rule.event_type is not None:
        conditions.append(f"event_type = {literal(rule.event_type)}")
    if rule.source_id is not None:
        conditions.append(f"source_id = {literal(rule.source_id)}")
    if "where" in config:
        conditions.append(predicate(fields, config["where"]))
    value, present = "count()", "count() > 0"
    if of is not None:
        text, number = fields.text(of), fields.number(of)
        value = VALUES[rule.kind].format(text=text, number=number)
        wanted = f"{text} != ''" if rule.kind == "uniq" else f"isFinite({number})"
        present = f"countIf({wanted}) > 0"
    what = "events" if of is None else f"{rule.kind} of {of}"
    scope = f" of {rule.event_type} events" if rule.event_type else ""
    return Aggregation(
        name=rule.name,
        meaning=config.get("meaning", f"{what}{scope} every {minutes} minutes (a rule)"),
        unit=config.get(
            "unit", "events" if of is None else "values" if rule.kind == "uniq" else of
        ),
        kind="sum" if rule.kind in ("count", "sum") else "gauge",
        value=value,
        minutes=minutes,
        dimensions={_column(name): fields.text(name) for name in config.get("by", [])},
        conditions=tuple(conditions),
        present=present,
    )


def _column(field: str) -> str:
    return BY_NAME[field].column if field in BY_NAME else field


def publish(client: Client, settings: Settings, rules: list[Rule]) -> bool:
    """Let the views be those of ``rules``; tell whether they changed.

    Rules in shadow are left out. Raises ``RuleError`` naming the rule that ClickHouse refuses, or
    whose name is a metric already; the views stay as they were.
    """
    wanted = [
        compile_aggregation(rule)
        for rule in sorted(rules, key=lambda rule: rule.name)
        if rule.rule_type == "aggregation" and rule.mode == "enforce"
    ]
    numbers = sql.render("clickhouse/rules/metrics.sql", aggregations=wanted, literal=literal)
    meanings = sql.render(
        "clickhouse/rules/metric_definitions.sql", aggregations=wanted, literal=literal
    )
    rollups = sql.render(
        "clickhouse/rules/metric_rollups.sql", aggregations=wanted, literal=literal
    )
    mark = hashlib.sha256((numbers + meanings + rollups).encode()).hexdigest()
    found = client.query(sql.render("clickhouse/rules/published_mark.sql")).result_rows
    if found and mark in found[0][0]:
        return False
    _try(client, wanted)
    on_cluster = quoting.on_cluster(settings.clickhouse_cluster)
    for statement in sql.render_all(
        "clickhouse/rules/publish_metrics.sql",
        on_cluster=on_cluster,
        numbers=numbers,
        meanings=meanings,
        rollups=rollups,
        mark=mark,
    ):
        client.command(statement)
    return True


def _try(client: Client, aggregations: list[Aggregation]) -> None:
    """Run each aggregation over no events, so that one at fault is named."""
    taken = _metrics_of_models(client)
    for one in aggregations:
        if one.name in taken:
            raise RuleError(f"rule {one.name}: name: it is a metric already; take another name")
        statement = sql.render("clickhouse/rules/metrics.sql", aggregations=[one], literal=literal)
        try:
            client.command(f"SELECT count() FROM (\n{statement}\n) WHERE timestamp = 0")  # noqa: S608
        except ClickHouseError as error:
            reason = first_line(error, 500)
            raise RuleError(f"rule {one.name}: config: ClickHouse refuses it: {reason}") from error


def _metrics_of_models(client: Client) -> set[Any]:
    """Return the names of the metrics that dbt models define, where they are built."""
    if not int(str(client.command("EXISTS TABLE analytics.metric_definitions"))):
        return set()
    rows = client.query(
        "SELECT metric_name FROM analytics.metric_definitions WHERE model != 'rule_metrics'"
    ).result_rows
    return {row[0] for row in rows}
