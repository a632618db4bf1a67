"""Published metrics, their counters and Millrace's own are samples, whoever asks beside them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from millrace.alerts import pipeline
from millrace.alerts.evaluation import Evaluator, batches
from millrace.alerts.model import Rule
from millrace.settings import Settings
from millrace.stores import clickhouse

MINUTE = timedelta(minutes=1)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)


@pytest.fixture
def metrics(settings: Settings) -> Iterator[None]:
    """Put a view of our own where dbt's is, and one sample a minute for ten minutes in it."""
    client = clickhouse.connect(settings)
    client.command("CREATE DATABASE IF NOT EXISTS analytics")
    is_built = client.command("EXISTS TABLE analytics.metrics")
    if is_built:
        client.command("RENAME TABLE analytics.metrics TO analytics.metrics_of_dbt")
    client.command(
        "CREATE VIEW analytics.metrics AS SELECT timestamp, value, dimensions, "
        "replaceOne(p.metric_name, 'published_', '') AS metric_name "
        "FROM pipeline_metrics AS p WHERE startsWith(p.metric_name, 'published_')"
    )
    client.command("TRUNCATE TABLE pipeline_metrics")
    for minute in range(10):
        rows = [
            ("published_orders", 1.0, {"country": "DE"}),
            ("published_orders", 2.0, {"country": "US", "device": ""}),
            ("millrace_load", 5.0 + minute, {"host": "a"}),
        ]
        pipeline.write(settings, NOON + minute * MINUTE, rows)
    yield
    client.command("TRUNCATE TABLE pipeline_metrics")
    client.command("DROP VIEW analytics.metrics")
    if is_built:
        client.command("RENAME TABLE analytics.metrics_of_dbt TO analytics.metrics")
    client.close()


def test_every_kind_of_sample_in_one_batch(settings: Settings, metrics: None) -> None:
    """A window's sample is at its end, so ten minutes after noon the last one is seen."""
    selectors = {
        "orders": 3.0,
        "orders_total": 30.0,
        'orders_total{country="US"}': 20.0,
        "millrace_load": 14.0,
        'orders{device=""}': 3.0,
        'orders{country=~"D."}': 1.0,
        "nosuch_total": None,
    }
    rules = [
        Rule(selector, f"sum({selector}) > {i / 100}", "warning", "me", "", [])
        for i, selector in enumerate(selectors)
    ]
    assert len(batches(rules)) == 1
    at = NOON + 10 * MINUTE
    with Evaluator(settings) as evaluator:
        found = evaluator.evaluate(rules, at - MINUTE, at)[at]
    values = {name: (result.status, result.series) for name, result in found.items()}
    assert values == {
        selector: ("no_data", []) if value is None else ("ok", [({}, value)])
        for selector, value in selectors.items()
    }


def test_a_selector_of_any_metric_sees_all_but_counters(settings: Settings, metrics: None) -> None:
    patterns = {"orders.*": 3.0, "millrace_l.*": 14.0, "(orders|millrace).*": 17.0}
    rules = [
        Rule(pattern, f'sum({{__name__=~"{pattern}"}})', "warning", "me", "", [])
        for pattern in patterns
    ]
    assert len(batches(rules)) == 1
    at = NOON + 10 * MINUTE
    with Evaluator(settings) as evaluator:
        found = evaluator.evaluate(rules, at, at)[at]
    assert {name: result.series for name, result in found.items()} == {
        pattern: [({}, value)] for pattern, value in patterns.items()
    }
