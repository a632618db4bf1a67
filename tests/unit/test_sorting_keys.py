"""Dimensions that merges would lose are refused before anything is deployed."""

from __future__ import annotations

import pytest

from millrace.transform import sorting_keys
from millrace.transform.manifest import Model


def model(compiled: str, engine: str = "SummingMergeTree") -> Model:
    key = frozenset({"window_start", "country"})
    return Model("model.m", "m", "materialized_view", compiled, (), engine, key)


@pytest.mark.parametrize(
    ("compiled", "lacking"),
    [
        ("select window_start, country, count() from e group by window_start, country", []),
        ("select window_start, plan from e\ngroup by window_start, plan", ["plan"]),
        ("select a from (select b from e group by b) GROUP BY window_start, e.device", ["device"]),
        ("select a from e group by country, `plan` order by country", ["plan"]),
        ("select toStartOfHour(t) as window_start from e group by window_start settings x = 1", []),
        ("select 1 from e group by country -- and device", []),
        ("select 1 from e group by country, -- land\n plan /* group by\n x */\n# y\n", ["plan"]),
        ("select `a--b` from e group by country, `a--b`", ["a--b"]),
        ("select 1 from e group by e.country, p['a, b -- c']", ["p['a, b -- c']"]),
        ("select 1 from e group by country having x != 'group by \\' -- plan'", []),
        ("select 1", []),
    ],
)  # fmt: skip
def test_every_dimension_is_in_the_sorting_key(compiled: str, lacking: list[str]) -> None:
    assert sorting_keys.outside(model(compiled)) == lacking
    assert sorting_keys.outside(model(compiled, "ReplicatedAggregatingMergeTree()")) == lacking
    assert sorting_keys.outside(model(compiled, "MergeTree()")) == []
