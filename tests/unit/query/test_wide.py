"""One answer for many filters gives what each question's own statement would."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from millrace.api.query import filters
from millrace.api.query.pieces import pieces
from millrace.api.query.plans import Plan
from millrace.api.query.questions import Question
from millrace.api.query.registry import Metric, Rollup
from millrace.api.query.wide import MOST_ROWS, Table, Tables, packed

START = datetime(2026, 1, 5, tzinfo=UTC)
NOW = START + timedelta(hours=9, minutes=20)
COUNTRIES, PAGES = ("DE", "US", "säge", ""), ("/", "/cart", "/cart/2")
DIMENSIONS = ("country", "page")
ROLLUP = Rollup(
    "by_hour", "by_hour", 300, "at", "sum(n)",
    dimensions={"country": "country", "page": "page"}, tables=("analytics.by_hour",),
)  # fmt: skip


def question(filter_text: str = "", *group_by: str, hours: int = 9, limit: int = 100) -> Question:
    """A question of the hours of a day until now."""
    return Question(
        ("n",), START, START + timedelta(hours=hours), "1h", group_by=group_by,
        filter=filters.read(filter_text), limit=limit,
    )  # fmt: skip


def plan(asked: Question, rollup: Rollup = ROLLUP, kind: str = "sum") -> Plan:
    """Its plan."""
    return Plan("n", asked, Metric("n", "", "", kind, (rollup,)), (rollup,), NOW)


@pytest.mark.parametrize(
    ("text", "lets_pass"),
    [
        pytest.param("", lambda _country, _page: True, id="all"),
        pytest.param("country:DE|", lambda country, _: country in ("DE", ""), id="in"),
        pytest.param("country!:DE", lambda country, _: country != "DE", id="not in"),
        pytest.param("page^:/cart", lambda _, page: page.startswith("/cart"), id="begins"),
        pytest.param("page!^:/cart", lambda _, page: not page.startswith("/cart"), id="not begins"),
        pytest.param("country~:äg|S", lambda country, _: country in ("säge", "US"), id="contains"),
        pytest.param(
            "country!~:U,page:/", lambda country, page: country != "US" and page == "/", id="and"
        ),
    ],
)
@pytest.mark.parametrize("by", [(), ("page",), ("page", "country")])
@pytest.mark.parametrize("limit", [2, 100])
def test_rows_are_those_of_the_question(
    text: str, lets_pass: Callable[[str, str], bool], by: tuple[str, ...], limit: int
) -> None:
    draw = random.Random(7)
    rows = [
        [bucket, country, page, draw.randint(0, 3)]
        for bucket, country, page in itertools.product(range(3), COUNTRIES, PAGES)
        if draw.random() < 0.8
    ]
    values: Counter[tuple[object, ...]] = Counter()
    totals: Counter[tuple[object, ...]] = Counter()
    for bucket, country, page, value in rows:
        if lets_pass(country, page):
            group = tuple({"country": country, "page": page}[name] for name in by)
            values[bucket, *group] += value
            totals[group] += value
    largest = sorted(totals, key=lambda group: (-totals[group], group))
    shown = set(largest[:limit] if by else largest)
    wanted = [[*at, values[at]] for at in sorted(values, key=str) if at[1:] in shown]
    found = Table(DIMENSIONS, rows).rows(question(text, *by, limit=limit))
    assert found == sorted(wanted)


def test_either_of_two_filters_may_let_pass() -> None:
    either = filters.combined(
        "or",
        [
            filters.Condition("country", "in", ("DE",)),
            filters.Condition("page", "not_in", ("/", "/cart")),
        ],
    )
    rows = [[0, "DE", "/", 1], [0, "US", "/", 2], [1, "US", "/x", 4]]
    asked = Question(("n",), START, NOW, filter=either)
    assert Table(DIMENSIONS, rows).rows(asked) == [[0, 1], [1, 4]]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([[0, "DE", 1.5]], id="sums that depend on their order"),
        pytest.param([[0, None, 1]], id="no text, which neither a filter nor its opposite has"),
        pytest.param([[0, str(n), 1] for n in range(MOST_ROWS + 1)], id="too many"),
    ],
)
def test_what_can_not_be_added_up_is_none(rows: list[list[object]]) -> None:
    assert Tables().table("key", ["country"], packed(rows)) is None


def test_a_table_is_read_again_when_its_content_is_another() -> None:
    tables = Tables()
    first, second = packed([[0, "DE", 1]]), packed([[0, "DE", 2]])
    table = tables.table("key", ["country"], first)
    assert tables.table("key", ["country"], first) is table
    other = tables.table("key", ["country"], second)
    assert other
    assert other.rows(question("country:DE")) == [[0, 2]]


def test_few_rows_are_kept_ready() -> None:
    tables = Tables()
    content = {
        str(n): orjson.dumps([[0, str(row), 1] for row in range(MOST_ROWS)]) for n in range(8)
    }
    first = tables.table("0", ["country"], content["0"])
    for name, rows in content.items():
        assert tables.table(name, ["country"], rows)
    assert tables.table("0", ["country"], content["0"]) is not first


def test_rows_are_shared_by_those_who_ask_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("millrace.api.query.wide.time.monotonic", lambda: now)
    tables = Tables()
    assert [tables.is_shared("shape", "a") for _ in range(3)] == [False] * 3
    assert not tables.is_shared("another", "b")
    assert tables.is_shared("shape", "b")
    assert tables.is_shared("shape", "b")
    now += 61
    assert not tables.is_shared("shape", "b")
    assert tables.is_shared("shape", "a")


def test_filters_share_what_runs_and_nothing_else() -> None:
    def keys(asked: Question) -> list[str]:
        return [piece.wide_key for piece in pieces(plan(asked), NOW)]

    germans = keys(question("country:DE", hours=24))
    assert [bool(key) for key in germans] == [False, True]
    assert germans == keys(question("country!:US|FR", hours=24))
    assert germans != keys(question("page:/", hours=24))
    assert keys(question("country:DE")) == [""], "what is over is kept for each"
    assert keys(question(hours=24)) == ["", ""], "nothing is filtered"


def test_what_does_not_add_up_is_asked_for_each_filter() -> None:
    asked = question("country:DE", hours=24)
    assert plan(asked).spread == ("country",)
    assert not plan(asked, kind="gauge").spread
    assert not plan(asked, replace(ROLLUP, is_divisible=False)).spread
    assert not plan(asked, replace(ROLLUP, present="count() > 2")).spread
