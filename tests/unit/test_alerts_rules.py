"""What is refused when a rule is saved, and what a rule's parts mean."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from millrace.alerts import promql, rules, templates
from millrace.alerts.evaluation import statement
from millrace.alerts.model import Rule, as_json, from_json
from millrace.contract.errors import RuleError
from millrace.stores.quoting import literal

GOOD = Rule("slow", "x > 1", "warning", "me", "https://runbooks.example.com/slow", ["slack"])
METRICS = {
    "events": rules.Metric("sum", 60),
    "x": rules.Metric("gauge", 300),
    "hourly": rules.Metric("sum", 3600),
}


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("count_values('v', x)", "count_values"),
        ("limitk(2, x)", "limitk"),
        ("holt_winters(x[5m], 0.5, 0.5)", "holt_winters"),
        ("x[5m]", "range of samples"),
        ("'text'", "a string"),
        ("x{a='1' or b='2'}", "'or' between matchers"),
        ("rate(x)", "expected type"),
        ("x >", "not a valid PromQL"),
        ("x + on (a) fill(0) y", "fill"),
        ("label_replace(x, 'bad-name', '', '', '')", "bad-name"),
        ("label_replace(x, 'a', '$1', 'b', '(?=x)')", "invalid perl operator"),  # as in RE2
    ],
)
def test_what_is_not_covered_is_refused_by_name(expression: str, named: str) -> None:
    with pytest.raises(RuleError, match=f"expression.*{named}"):
        rules.check(replace(GOOD, expression=expression), ["slack"])


def test_patterns_of_labels_are_re2s() -> None:
    pattern = r"(\\pL)(?P<two>[[:alpha:]])\\z"
    rule = replace(
        GOOD, expression=f"label_replace(x, 'a', '$1-${{two}}-$3', 'b', '{pattern}') > 1"
    )
    rules.check(rule, ["slack"])
    assert literal(r"\1-\2-") in statement([rule])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "Slow rule"}, "name"),
        ({"severity": "bad"}, "severity"),
        ({"owner": " "}, "owner"),
        ({"runbook": ""}, "runbook"),
        ({"labels": {"severity": "x"}}, "labels"),
        ({"labels": {"1x": "x"}}, "labels"),
        ({"routes": ["nowhere"]}, "routes"),
        ({"for_seconds": -1}, "for"),
        ({"no_data": "maybe"}, "no_data"),
        ({"annotations": {"summary": "{{ value "}}, "annotations.summary"),
        ({"annotations": {"summary": "{{ ''.__class__.__mro__ }}"}}, "annotations.summary"),
        ({"expression": "nosuch > 1"}, "no metric is called nosuch"),
        ({"expression": "x_total > 1"}, "no metric is called x_total"),
        ({"expression": "sum(hourly) < 5"}, r"last_over_time\(hourly\[60m\]\)"),
        ({"expression": "sum_over_time(hourly[59m]) < 5"}, "range of at least 60m"),
        ({"expression": "hourly_total > 1"}, "hourly_total has a value every 60m"),
    ],
)
def test_a_bad_rule_is_refused_with_its_field(changes: dict[str, object], field: str) -> None:
    with pytest.raises(RuleError, match=field):
        rules.check(replace(GOOD, **changes), ["slack"], METRICS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "expression",
    [
        "events_total > 1",
        "millrace_kafka_up < 1",
        "x > 1",
        "sum(last_over_time(hourly[1h])) < 5",
        "avg_over_time(hourly[1d]) < 5",
    ],
)
def test_known_metrics_pass(expression: str) -> None:
    rules.check(replace(GOOD, expression=expression), ["slack"], METRICS)


@pytest.mark.parametrize("key", ["threshold", "seed_digest", "created_at"])
def test_a_field_that_is_not_a_users_is_refused(key: str) -> None:
    with pytest.raises(RuleError, match=f"no field '{key}'"):
        rules.from_document({"name": "a", key: 3}, {})


@pytest.mark.parametrize("value", [10**400, 31_536_001, "366d", "9999999y", "9" * 400 + "s"])
def test_a_duration_beyond_a_year_is_refused_with_its_field(value: object) -> None:
    with pytest.raises(RuleError, match=r"for: .* is longer than a year"):
        rules.seconds("for", value)
    assert [rules.seconds("for", one) for one in (31_536_000, "365d", "1h30m")] == [
        31_536_000,
        31_536_000,
        5_400,
    ]
    assert [rules.seconds("for", one) for one in (0, "0s", "0m", "0h0m")] == [0, 0, 0, 0]


def test_a_rule_written_down_reads_as_the_same_rule() -> None:
    _, _, built_in = rules.load_seeds()
    for rule in built_in:
        document = rules.to_document(rule)
        assert rules.from_document(document, {}).digest == rule.digest == rule.seed_digest


def test_every_built_in_rule_compiles_and_has_its_runbook(repository: Path) -> None:
    routes, inhibitions, built_in = rules.load_seeds()
    assert {route.kind for route in routes} == {"slack", "pagerduty", "webhook", "email"}
    assert inhibitions
    for rule in built_in:
        assert statement([rule])
        runbook = (repository / rule.runbook).read_text()
        assert f"`{rule.name}`" in runbook


@pytest.mark.parametrize(
    ("expression", "selectors"),
    [
        ("x > 1", ["x"]),
        ("x > on () y", ["x", "y"]),
        ("absent(x)", []),
        ("x or vector(0)", []),
        ("x unless y", ["x"]),
        ("sum(rate(x[5m] offset 1h))", ["x[5m] offset 1h"]),
        ("x and x", ["x"]),
        ("x and {__name__='x'}", ["x"]),
        ("x @ 1 and x @ 2", ["x @ 1.000", "x @ 2.000"]),
    ],
)
def test_selectors_that_must_find_samples(expression: str, selectors: list[str]) -> None:
    assert [s.text for s in promql.parse(expression).selectors] == selectors


@pytest.mark.parametrize(
    ("expression", "offset_minutes", "window_minutes"),
    [
        ("x", 0, 5),
        ("x offset 1h", 60, 5),
        ("last_over_time(x[2h] offset 1h)", 60, 120),
        ("max_over_time(rate(x[10m] offset 5m)[1h:1m] offset 1h)", 65, 70),
        ("max_over_time(x[1h:])", 0, 65),
    ],
)
def test_how_far_a_selector_looks(
    expression: str, offset_minutes: int, window_minutes: int
) -> None:
    (selector,) = promql.parse(expression).selectors
    assert selector.offset_ms == offset_minutes * 60_000
    assert selector.window_ms == window_minutes * 60_000


@pytest.mark.parametrize(
    ("expression", "parts"),
    [
        ("x > 1", ("x", ">", "1")),
        ("1 < x", ("x", ">", "1")),
        ("(sum(x) < 0.8 * y) and z > 1", ("sum(x)", "<", "0.8 * y")),
        ("x > bool 1", None),
        ("x + 1", None),
    ],
)
def test_value_and_threshold(expression: str, parts: tuple[str, str, str] | None) -> None:
    found = promql.parse(expression).comparison
    assert (found and (found.value.text, found.operator, found.threshold.text)) == parts


@pytest.mark.parametrize(
    "text", ["it's", "back\\slash", "\\'", "{a:Int64}", "new\nline", "--", "é"]
)
def test_a_string_cannot_leave_its_literal(text: str) -> None:
    quoted = literal(text)
    inner = quoted[1:-1].replace("\\\\", "").replace("\\'", "")
    assert "'" not in inner
    assert not inner.endswith("\\")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "no value"),
        (5.0, "5"),
        (1234.0, "1,234"),
        (12345.0, "12.35 k"),
        (0.0123, "0.0123"),
        (math.inf, "infinite"),
        (math.nan, "no value"),
    ],
)
def test_numbers_for_people(value: float | None, text: str) -> None:
    assert templates.humanize(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.1234, "ratio", "12.3 %"),
        (90.0, "seconds", "90 s"),
        (150.0, "seconds", "2 min"),
        (7200.0, "seconds", "2 h"),
        (7500.0, "seconds", "2 h 5 min"),
        (1e6, "seconds", "11.6 days"),
        (math.inf, "seconds", "infinite"),
        (1234.0, "events a minute", "1,234"),
    ],
)
def test_values_in_their_unit(value: float, unit: str, text: str) -> None:
    assert templates.in_unit(value, unit) == text


@pytest.mark.parametrize("value", [None, 1.5, math.inf, -math.inf])
def test_a_value_comes_back_from_json(value: float | None) -> None:
    held = json.loads(json.dumps(as_json(value), allow_nan=False))
    assert from_json(held) == value


def test_a_template_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ValueError, match="recursion"):
        templates.check("{{ " + "(" * 1900 + "1" + ")" * 1900 + " }}")


def test_a_template_that_fails_says_so_instead_of_stopping_the_alert() -> None:
    text = templates.render("{{ labels.a.b.c }}", rule="r", labels={}, value=1.0, threshold=None)
    assert "could not be made" in text
