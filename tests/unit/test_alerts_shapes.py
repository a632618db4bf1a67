"""Which expressions one statement can judge, and how their rows are told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.alerts import promql
from millrace.alerts.evaluation import BATCH_LIMIT, BATCH_MINUTES, batches, statement
from millrace.alerts.model import Rule
from millrace.alerts.promql import lanes
from millrace.alerts.promql.shape import Query
from millrace.alerts.samples import StoredSamples

NAMES = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("inf", "nan", "by", "on", "and", "or", "bool", "atan", "offset")
)
NUMBERS = st.floats(min_value=0, allow_nan=False, allow_infinity=False)


@given(NAMES, NAMES, NUMBERS, NUMBERS)
def test_names_matchers_and_numbers_are_no_part_of_a_shape(
    name: str, value: str, threshold: float, factor: float
) -> None:
    written = f'rate({name}{{host="{value}"}}[5m]) > {threshold!r} + {factor!r} * other'
    found = promql.parse(written).shape
    assert found.key == promql.parse("rate(x[5m]) > 1 + 2 * y").shape.key
    assert found.numbers == (threshold, factor)
    assert found.queries == (Query(name, (("host", "=", value),)), Query("other", ()))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("rate(x[5m])", "rate(x[6m])"),
        ("x offset 5m", "x offset 6m"),
        ("x @ 1", "x @ 2"),
        ("sum by (a) (x)", "sum by (b) (x)"),
        ("sum by (a) (x)", "sum without (a) (x)"),
        ("x > 1", "x >= 1"),
        ("x > 1", "x > bool 1"),
        ("x * on (a) y", "x * on (a) group_left y"),
        ("max_over_time(x[5m:1m])", "max_over_time(x[5m:2m])"),
        ('label_join(x, "a", "b")', 'label_join(x, "a", "c")'),
        ("x + y", "x + x"),
        ('abs({__name__=~"x.*"})', "abs(x)"),
        ("(x)", "x"),
    ],
)
def test_all_else_is(one: str, two: str) -> None:
    assert promql.parse(one).shape.key != promql.parse(two).shape.key


def test_a_batch_is_of_one_shape_and_not_too_large() -> None:
    written = [f"x{i} > {i}" for i in range(BATCH_LIMIT + 1)] + ["sum(x) > 1", "x >", "y >"]
    rules = [Rule(f"r{i}", text, "warning", "me", "", []) for i, text in enumerate(written)]
    found = batches(rules)
    assert [len(batch) for batch in found] == [BATCH_LIMIT, 1, 1, 1, 1]
    assert [rule for batch in found for rule in batch] == rules
    assert max(len(batch) for batch in batches(rules, minutes=60)) == BATCH_MINUTES / 60
    assert {len(batch) for batch in batches(rules, minutes=10_000)} == {1}


def test_a_metric_may_be_named_in_two_ways() -> None:
    spelled = ["x + x > 1", '{__name__="y"} + y > 2']
    rules = [Rule(text, text, "warning", "me", "", []) for text in spelled]
    assert len(batches(rules)) == 1
    assert "'y'" in statement(rules)


@given(st.integers(0, 1000), st.integers(-lanes.WIDTH // 2, lanes.WIDTH // 2 - 1))
def test_a_row_tells_its_rule_and_its_time(lane: int, at: int) -> None:
    assert lanes.split(lane * lanes.WIDTH + at) == (lane, at)


@pytest.mark.parametrize("text", ["a offset nan", "sum(", "a and offset nan b", "\0"])
def test_what_is_no_expression_is_said_to_be_none(text: str) -> None:
    with pytest.raises(promql.UnsupportedError, match="not a valid PromQL expression"):
        promql.parse(text)


def test_a_time_that_nothing_holds_is_refused() -> None:
    expression = promql.parse("up @ 1e300")
    with pytest.raises(promql.UnsupportedError, match="the time after @ is out of range"):
        expression.statement(StoredSamples())
