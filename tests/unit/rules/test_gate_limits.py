"""What no rule can ask for, and what no rule can let in, on the real engine."""

from __future__ import annotations

import json

import pytest

from millrace.contract.errors import RuleError
from millrace.contract.failures import REASONS
from millrace.contract.gate import Gate
from millrace.rules import aggregations, gate, store
from millrace.rules.compiler import compile_gate
from millrace.rules.model import Rule, validate
from millrace.settings import REPOSITORY
from millrace.stores import sql
from millrace.stores.quoting import literal
from tests.unit.rules.conftest import AROUND, rule


def test_a_shadow_rule_is_not_in_the_statement(judge, event):
    (row,) = judge(event, rules=[rule(check="required", field="sku", mode="shadow")])
    assert row["failures"] == row["warnings"] == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"check": "range", "field": "a", "min": "x"}, "config.min"),
        ({"check": "range", "field": "a", "min": 5, "max": 1}, "above config.max"),
        ({"check": "rnage", "field": "a"}, "config.check"),
        ({"check": "required", "feild": "a"}, "feild"),
    ],
)
def test_a_bad_config_is_refused_with_the_field_named(config, message):
    with pytest.raises(RuleError, match=message):
        rule(**config)


def test_a_pattern_that_the_engine_refuses_is_named(engine):
    bad = rule("bad_pattern", check="pattern", field="a", pattern="(?=x)")
    with pytest.raises(RuleError, match=r"bad_pattern: config\.pattern"):
        gate.try_rules(engine, [rule(check="required", field="a"), bad], AROUND)


def test_the_reasons_are_the_documented_ones():
    text = (REPOSITORY / "docs" / "rejection-reasons.md").read_text()
    documented = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert tuple(documented[: len(REASONS)]) == REASONS


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"config": {"check": "range", "field": "a", "min": float("nan")}}, "config.min: nan is"),
        ({"config": {"check": "range", "field": "a", "max": float("inf")}}, "config.max: inf is"),
        ({"config": {"check": "range", "field": "a", "max": 10**400}}, "config.max: the number is"),
        ({"config": {"check": "allowed_values", "field": "a", "values": ["x\0"]}}, "values.0: 'x"),
        ({"config": {"check": "pattern", "field": "a", "pattern": "\ud800"}}, "config.pattern: "),
        ({"config": {"check": "required", "field": "a", "b\0": 1}}, "config, a key: "),
        ({"config": ["check"]}, "config is ['check'], must be a mapping"),
        ({"config": {"check": ["range"]}}, "config.check is ['range'], must be one of"),
        ({"name": "a\0"}, "name: 'a"),
        ({"name": False}, "name is False, must be text"),
        ({"event_type": 5}, "event_type is 5, must be text"),
        ({"event_type": "a\0"}, "event_type: 'a"),
        ({"priority": float("nan")}, "priority is nan, must be a whole number"),
        ({"priority": 2**31}, "priority is 2147483648, must lie within"),
    ],
    ids=str,
)
def test_a_rule_that_could_not_be_stored_is_refused_by_name(changes, fault):
    values = {
        "name": "tested",
        "rule_type": "validation",
        "config": {"check": "required", "field": "a"},
    }
    with pytest.raises(RuleError) as refused:
        validate(Rule(**values | changes))
    assert fault in str(refused.value)


def test_no_text_of_a_rule_splits_a_file_of_statements(engine):
    text = "x\n;\ny 'quoted' \\ \0 end"
    rule = Rule(
        "counted",
        "aggregation",
        {"aggregate": "count", "window_minutes": 5, "meaning": text},
    )
    meanings = sql.render(
        "clickhouse/rules/metric_definitions.sql",
        aggregations=[aggregations.compile_aggregation(rule)],
        literal=literal,
    )
    (row,) = engine.rows(meanings)
    assert row["meaning"] == text
    statements = sql.render_all(
        "clickhouse/rules/publish_metrics.sql",
        on_cluster="",
        numbers="SELECT 1",
        meanings=meanings,
        rollups=sql.render(
            "clickhouse/rules/metric_rollups.sql",
            aggregations=[aggregations.compile_aggregation(rule)],
            literal=literal,
        ),
        mark="",
    )
    assert len(statements) == 3


AGES = {
    "1969-12-31T23:59:59Z": ["event_too_old"],
    "1970-01-01T00:00:00Z": ["event_too_old"],
    "2025-10-03T11:59:59.999Z": ["event_too_old"],
    "2025-10-03T12:00:00Z": [],
    "2026-01-01T12:10:00Z": [],
    "2026-01-01T12:10:00.001Z": ["event_in_future"],
    "2110-01-01T00:00:00Z": ["event_in_future"],
    "2200-01-01T00:00:00Z": ["event_in_future"],
    "9999-12-31T23:59:59Z": ["event_in_future"],
}


@pytest.mark.parametrize(
    "kafka_time", ["1970-01-01 00:00:00.000", "2025-09-01 00:00:00.000", "2160-01-01 00:00:00.000"]
)
def test_age_counts_from_receipt_whatever_time_kafka_gives(judge, event, kafka_time):
    rows = judge(*(event | {"timestamp": at} for at in AGES), kafka_time=kafka_time)
    reasons = [[failure.split("|")[0] for failure in row["failures"]] for row in rows]
    assert dict(zip(AGES, reasons, strict=True)) == AGES


HELD = {
    "1969-01-01T00:00:00Z": ["event_too_old|timestamp|contract"],
    "2025-10-03T11:59:59.999Z": ["event_too_old|timestamp|contract"],
    "2025-10-03T12:00:00Z": [],
    "2099-12-31T23:59:59.999Z": [],
    "2100-01-01T00:00:00Z": ["event_in_future|timestamp|contract"],
    "2200-01-01T00:00:00Z": ["event_in_future|timestamp|contract"],
}


@pytest.mark.parametrize("mode", [None, "warn", "shadow"])
def test_no_rule_lets_in_what_the_tables_can_not_hold(judge, event, mode):
    rules = [
        Rule("aged", "validation", {"check": "max_age", "days": 4000}, mode=mode or "warn"),
        Rule("ahead", "validation", {"check": "max_ahead", "seconds": 4e9}, mode=mode or "warn"),
    ]
    rows = judge(*(event | {"timestamp": at} for at in HELD), rules=rules if mode else [])
    assert dict(zip(HELD, (row["failures"] for row in rows), strict=True)) == HELD


def test_a_rule_of_more_days_than_are_kept_does_not_keep_more(judge, event):
    rules = [
        Rule("aged", "validation", {"check": "max_age", "days": 4000}),
        Rule("ahead", "validation", {"check": "max_ahead", "seconds": 4e9}),
    ]
    for timestamp, failure in [
        ("2025-10-03T11:59:59.999Z", ["event_too_old|timestamp|aged"]),
        ("2025-10-03T12:00:00Z", []),
        ("2100-01-01T00:00:00Z", ["event_in_future|timestamp|ahead"]),
    ]:
        assert judge({**event, "timestamp": timestamp}, rules=rules)[0]["failures"] == failure


def test_a_time_that_was_changed_after_a_rule_had_asked_is_asked_about_again(judge, event):
    rules = [
        Rule("ahead", "validation", {"check": "max_ahead", "seconds": 60}, priority=1),
        Rule(
            "later",
            "transformation",
            {"transform": "default", "field": "timestamp", "value": "2150-01-01T00:00:00Z"},
            priority=2,
        ),
    ]
    (row,) = judge({**event, "timestamp": None}, rules=rules)
    assert row["failures"] == ["event_in_future|timestamp|contract"]


def test_a_gate_is_kept_whole_where_names_have_no_order():
    compiled = compile_gate(store.seeded_rules(), AROUND)
    kept = json.loads(json.dumps(compiled.as_json(), sort_keys=True))
    assert Gate.from_json(kept).statement() == compiled.statement()
