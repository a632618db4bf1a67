"""PromQL compiled to SQL gives what Prometheus gives: same samples, same queries, same results.

Debian's Prometheus is a 2.x, which takes a sample exactly at a window's start in; production
leaves it out, as Prometheus 3 does. The comparison therefore runs both ways: as 2.x at any time,
and as 3.x at times at which no sample stands on an edge.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from tests.integration.promql.expressions import ERRORS, EXPRESSIONS
from tests.integration.promql.reference import Key, Prometheus, PrometheusError, serving
from tests.integration.promql.samples import START, openmetrics, samples
from tests.integration.promql.stored import TestSamples, stored

from millrace.alerts import promql
from millrace.settings import Settings

MINUTE = 60_000
BEGIN = START * 1000
INSTANT = (BEGIN + 100 * MINUTE, BEGIN + 100 * MINUTE, 1)
RANGE = (BEGIN + 30 * MINUTE, BEGIN + 179 * MINUTE, 7 * MINUTE + 13_000)
"""Twenty-one times, the first of them on the edges of windows."""
OFF_EDGES = (BEGIN + 137 * MINUTE + 500, BEGIN + 137 * MINUTE + 500, 1)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    text = openmetrics(list(samples()))
    with serving(text, tmp_path_factory.mktemp("prometheus")) as running:
        yield running


@pytest.fixture(scope="module")
def warehouse(settings: Settings) -> Iterator[Client]:
    with stored(settings) as client:
        yield client


def evaluate(
    warehouse: Client, query: str, times: tuple[int, int, int], *, is_left_open: bool
) -> dict[Key, float]:
    statement = promql.parse(query).statement(TestSamples(), is_left_open=is_left_open)
    start, end, step = times
    answer = warehouse.query(statement, parameters={"start": start, "end": end, "step": step})
    found: dict[Key, float] = {}
    for at, labels, value in answer.result_rows:
        key = (at, tuple(sorted(labels.items())))
        assert key not in found, f"{key} twice"
        found[key] = value
    return found


def differences(ours: dict[Key, float], theirs: dict[Key, float]) -> list[Any]:
    def same(key: Key) -> bool:
        a, b = ours.get(key), theirs.get(key)
        if a is None or b is None:
            return False
        both_nan = math.isnan(a) and math.isnan(b)
        return a == b or both_nan or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)

    return [(k, ours.get(k), theirs.get(k)) for k in ours.keys() | theirs.keys() if not same(k)]


def test_the_comparison_is_broad_enough() -> None:
    assert len(set(EXPRESSIONS)) >= 500


@pytest.mark.parametrize("query", EXPRESSIONS)
def test_same_as_prometheus(prometheus: Prometheus, warehouse: Client, query: str) -> None:
    theirs = prometheus.evaluate(query, *RANGE)
    ours = evaluate(warehouse, query, RANGE, is_left_open=False)
    assert not differences(ours, theirs)
    # A time that `@` pins, and a subquery's own steps, may stand on edges at any time.
    stands_off_edges = "@" not in query and ":" not in query
    theirs = prometheus.evaluate(query, *OFF_EDGES)
    ours = evaluate(warehouse, query, OFF_EDGES, is_left_open=stands_off_edges)
    assert not differences(ours, theirs), "at one time"


@pytest.mark.parametrize("query", ERRORS)
def test_an_error_in_both(prometheus: Prometheus, warehouse: Client, query: str) -> None:
    with pytest.raises(PrometheusError):
        prometheus.evaluate(query, *INSTANT)
    with pytest.raises(ClickHouseError):
        evaluate(warehouse, query, INSTANT, is_left_open=False)


def test_a_sample_at_the_edge(warehouse: Client) -> None:
    """At a window's start, 3.x leaves the sample out and 2.x takes it in; at its end, both do."""
    times = INSTANT
    one = evaluate(warehouse, "count_over_time(threshold[1m])", times, is_left_open=True)
    two = evaluate(warehouse, "count_over_time(threshold[1m])", times, is_left_open=False)
    assert list(one.values()) == [1.0]
    assert list(two.values()) == [2.0]
    at_lookback = (BEGIN + 105 * MINUTE, BEGIN + 105 * MINUTE, 1)
    assert not evaluate(warehouse, "once", at_lookback, is_left_open=True)
    assert evaluate(warehouse, "once", at_lookback, is_left_open=False)
