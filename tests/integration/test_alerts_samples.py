"""Published metrics, their counters and Millrace's own are samples, whoever asks beside them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.promql.published import Metric, published

from millrace.alerts import pipeline
from millrace.alerts.evaluation import Evaluator, batches
from millrace.alerts.model import Rule
from millrace.settings import Settings

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)

GRAINS = {"orders": 60, "by_1min": 60, "by_5min": 300, "by_1h": 3600, "by_1d": 86400}
"""Metrics, and how many seconds their windows are long."""


@pytest.fixture
def metrics(settings: Settings) -> Iterator[None]:
    """One sample a minute for ten minutes."""
    with published([Metric(name, seconds) for name, seconds in GRAINS.items()], settings):
        for minute in range(10):
            rows = [
                ("published_orders", 1.0, {"country": "DE"}),
                ("published_orders", 2.0, {"country": "US", "device": ""}),
                ("millrace_load", 5.0 + minute, {"host": "a"}),
            ]
            pipeline.write(settings, NOON + minute * MINUTE, rows)
        yield


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


@pytest.mark.parametrize("name", ["by_1min", "by_5min", "by_1h", "by_1d"])
def test_a_window_is_seen_from_its_end_on(settings: Settings, metrics: None, name: str) -> None:
    """However long windows are: never while they last, and then until the next one ends."""
    seconds = GRAINS[name]
    grain = timedelta(seconds=seconds)
    whole = NOON.replace(hour=0) if grain == DAY else NOON
    starts = [whole + n * grain for n in range(-3, 2)]
    for value, start in enumerate(starts, 1):
        pipeline.write(settings, start, [(f"published_{name}", float(value), {})])
    expressions = {
        "last": f"sum(last_over_time({name}[{seconds}s]))",
        "count": f"count_over_time({name}[{seconds}s])",
        "counter": f"sum({name}_total)",
    }
    rules = [Rule(n, f"{e} > 0", "warning", "me", "", []) for n, e in expressions.items()]
    with Evaluator(settings) as evaluator:
        for value, start in enumerate(starts, 1):
            so_far = [v for v, s in enumerate(starts, 1) if s <= start and s.date() == start.date()]
            for at in {start + grain, start + grain + grain / 2, start + 2 * grain - MINUTE}:
                if at.second:
                    continue
                found = evaluator.evaluate(rules, at, at)[at]
                assert found["last"].series == [({}, float(value))], at
                assert found["count"].series == [({}, 1.0)], at
                is_within_lookback = at - (start + grain) < timedelta(minutes=5)
                counter = [({}, float(sum(so_far)))] if is_within_lookback else []
                assert found["counter"].series == counter, at
