"""Which expressions' answers may be kept, and which of them are equal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.query.test_questions import ANYONE

from millrace.alerts import promql
from millrace.api.query.evaluations import is_same
from millrace.api.query.prometheus import Seen


@pytest.mark.parametrize(
    ("query", "ends_in_time"),
    [
        ("1", True),
        ("views", True),
        ("rate(views[5m] offset 1h) or absent(events)", True),
        ("max_over_time(sum(views)[30m:5m] offset 10m)", True),
        ("max_over_time(sum(rate(views[5m]))[30m:5m])", True),
        ("views @ end() - views @ start()", True),
        ("views offset -1h", False),
        ("sum(events) - sum(sum_over_time(views[5m] offset -1s))", False),
        ("max_over_time(sum(views offset -5m)[30m:5m])", False),
        ("max_over_time(sum(views)[30m:5m] offset -5m)", False),
        ("views @ 4000000000", False),
        ("absent(views @ 4000000000)", False),
    ],
)
def test_an_expression_tells_whether_it_asks_for_later_samples(
    query: str, ends_in_time: bool
) -> None:
    worth: Any = SimpleNamespace(lineage=SimpleNamespace(models=()))
    seen = Seen(ANYONE, worth)
    promql.parse(query).compiled(seen)
    assert seen.ends_in_time == ends_in_time


ROW = b'{"metric":{"country":"DE"},"values":[[1.5,"0.30000000000000004"],[61.5,"NaN"]]}'


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        (ROW, True),
        (ROW.replace(b"0.30000000000000004", b"0.3"), True),
        (ROW.replace(b"0.30000000000000004", b"0.31"), False),
        (ROW.replace(b"NaN", b"0"), False),
        (ROW.replace(b"DE", b"US"), False),
        (ROW.replace(b"country", b"device"), False),
        (ROW.replace(b',[61.5,"NaN"]', b""), False),
        (ROW + b"\n" + ROW, False),
        (b"", False),
    ],
)
def test_answers_are_equal_but_for_the_order_of_additions(other: bytes, equal: bool) -> None:
    assert is_same(ROW, other) == equal
