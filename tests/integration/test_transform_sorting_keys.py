"""Dimensions that merges would lose are found, however a model groups by them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from millrace.settings import Settings
from millrace.stores import clickhouse
from millrace.transform import sorting_keys
from millrace.transform.manifest import Model

DATABASE = "sorting_keys"
ROLLED = (
    f"(select toStartOfHour(t) as hour, land, plan, count() as n from {DATABASE}.e group by all)"
)


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[Client]:
    with clickhouse.connect(settings) as client:
        client.command(f"CREATE DATABASE {DATABASE}")
        client.command(
            f"CREATE TABLE {DATABASE}.e (t DateTime, land String, plan String, n UInt64,"
            " p Map(String, String)) ENGINE = MergeTree ORDER BY t"
        )
        client.command(
            f"CREATE TABLE {DATABASE}.m (hour DateTime, land String, `a--b` String, n UInt64)"
            " ENGINE = SummingMergeTree ORDER BY (hour, land, `a--b`)"
        )
        yield client
        client.command(f"DROP DATABASE {DATABASE}")


@pytest.mark.parametrize(
    ("selected", "lacking"),
    [
        ("toStartOfHour(t) as hour, land, count() as n from {e} group by hour, land", []),
        ("toStartOfHour(t) as hour, land, count() as n from {e} group by 1, 2", []),
        ("toStartOfHour(t) as hour, land, count() as n from {e} group by all", []),
        ("toStartOfHour(t) as hour, land, sum(n) / count() from {e} group by (hour, land)", []),
        ("toStartOfHour(t) as hour, plan, count() as n from {e} group by hour, plan", ["plan"]),
        ("toStartOfHour(t) as hour, plan, count() as n from {e} group by all", ["plan"]),
        ("toStartOfHour(t) as hour, plan, count() as n from {e} group by 1, 2", ["plan"]),
        ("land, p['plan'] as plan, count() from {e} group by land, p['plan']", ["plan"]),
        ("land, lower(plan) as `the plan` from {e} group by land, lower(plan)", ["the plan"]),
        # What is made of the key, or is the same in every row, is no other dimension.
        ("toStartOfHour(t) as hour, toDate(toStartOfHour(t)) as day from {e} group by hour", []),
        ("land, upper(land) as l, 1 as one, now() as at, count() from {e} group by land", []),
        # One that is grouped by and not kept is added up, which is what the numbers then say.
        ("land, count() as n from {e} group by land, plan", []),
        ("land as `a--b`, count() from {e} group by land -- and plan", []),
        # The outermost query says what there is; a subquery, what that is made of.
        ("hour, land, n from {rolled}", []),
        ("hour, land, plan, n + 1 as more from {rolled}", ["plan"]),
        ("hour, sum(n) as n from {rolled} group by hour", []),
        ("land, x.plan as c, sum(x.n) from {rolled} as x join {e} using land group by 1, 2", ["c"]),
        (
            "land, count() from {e} group by 1 union all select plan, 1 from {e}",
            [],
        ),
        ("land, plan from {e} group by 1, 2 union all select land, '' from {e}", ["plan"]),
        ("land, plan from {e}", ["plan"]),
    ],
)
def test_every_dimension_is_in_the_sorting_key(
    client: Client, selected: str, lacking: list[str]
) -> None:
    compiled = "select " + selected.format(e=f"{DATABASE}.e", rolled=ROLLED)

    def outside(engine: str) -> list[str]:
        model = Model("model.m", "m", "materialized_view", compiled, (), engine)
        return sorting_keys.outside(client, DATABASE, model)

    assert outside("SummingMergeTree") == lacking
    assert outside("ReplicatedAggregatingMergeTree()") == lacking
    assert outside("MergeTree()") == []
