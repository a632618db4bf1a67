"""Ranges by the clock of a zone, filters in one form, and which rollups a question is asked of."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query import cursors, filters, ranges
from millrace.api.query.plans import plan
from millrace.api.query.questions import (
    QueryDocument,
    Question,
    comparison,
    read_document,
    read_query,
)
from millrace.api.query.ranges import buckets, read_range
from millrace.api.query.registry import Metric, Registry, Rollup

NOW = datetime(2026, 11, 29, 10, 17, 30, tzinfo=UTC)
ANYONE = Principal("ada", "viewer")
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu",
    "Australia/Lord_Howe", "Pacific/Apia",
)  # fmt: skip


def rollup(name: str, grain: int, dimensions: str, **more: object) -> Rollup:
    return Rollup(
        name, f"analytics.{name}", grain, "window_start", "sum(n)",
        dimensions={one: one for one in dimensions.split()}, tables=(f"analytics.{name}",), **more,
    )  # fmt: skip


HOURS = rollup("hours", 3600, "country device", kept_days=730)
MINUTES = rollup("minutes", 60, "country device", kept_days=90)
ROWS = rollup("events", 0, "country device page", source="source_id", kept_days=90)
REGISTRY = Registry(
    {
        "views": Metric("views", "Views", "views", "sum", (HOURS, MINUTES, ROWS)),
        "users": Metric("users", "Users", "users", "gauge", (HOURS, MINUTES)),
        "peak": Metric(
            "peak", "Peak", "n", "gauge", (rollup("metrics", 300, "sku", is_divisible=False),)
        ),
    },
    NOW,
)


def ask(whose: Principal = ANYONE, **parameters: str) -> Question:
    return read_query({"name": "views"} | parameters, REGISTRY, NOW, whose)


def refusal(whose: Principal = ANYONE, **parameters: str) -> ProblemError:
    def answer() -> None:
        question = ask(whose, **parameters)
        plan(question, question.metrics[0], REGISTRY)

    with pytest.raises(ProblemError) as refused:
        answer()
    return refused.value


@pytest.mark.parametrize(
    ("text", "interval", "zone", "start", "end"),
    [
        ("24h", "1h", "UTC", "2026-11-28T11:00", "2026-11-29T11:00"),
        ("24h", "", "Asia/Kolkata", "2026-11-28T10:30", "2026-11-29T10:30"),
        ("7d", "", "Europe/Berlin", "2026-11-22T23:00", "2026-11-29T23:00"),
        ("7d", "1d", "UTC", "2026-11-23", "2026-11-30"),
        ("30min", "5min", "UTC", "2026-11-29T09:50", "2026-11-29T10:20"),
        ("2w", "1w", "UTC", "2026-11-16", "2026-11-30"),
        ("1mo", "1mo", "UTC", "2026-11-01", "2026-12-01"),
        ("today", "1h", "America/New_York", "2026-11-29T05:00", "2026-11-30T05:00"),
        ("last_month", "", "UTC", "2026-10-01", "2026-11-01"),
        ("last_week", "1d", "UTC", "2026-11-16", "2026-11-23"),
        ("2026-10-25/2026-10-25", "", "Europe/Berlin", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("2026-11-01T00:30Z/2026-11-01T03:10Z", "1h", "UTC", "2026-11-01", "2026-11-01T04:00"),
        ("2026-11-01T06:00/PT90M", "", "Asia/Kathmandu", "2026-11-01T00:15", "2026-11-01T01:45"),
        ("P1M/2026-03-30", "", "UTC", "2026-02-28", "2026-03-31"),
    ],
)
def test_ranges_are_relative_to_now_and_aligned_in_their_zone(text, interval, zone, start, end):
    expected = [datetime.fromisoformat(one).replace(tzinfo=UTC) for one in (start, end)]
    assert list(read_range(text, interval, zone, NOW)) == expected


@pytest.mark.parametrize(
    "text", ["", "7", "x", "0d", "2026-11-02/2026-11-01", "99999y", "2026-11-01/P", "P1D/x", "1/2"]
)
def test_a_range_that_is_none_is_refused(text):
    with pytest.raises(ProblemError) as refused:
        read_range(text, "", "UTC", NOW)
    assert (refused.value.status, refused.value.code) == (400, "invalid_parameter")


@pytest.mark.parametrize(
    ("zone", "day", "interval", "minutes"),
    [
        ("Europe/Berlin", "2026-03-29", "1h", [60] * 23),
        ("Europe/Berlin", "2026-10-25", "1h", [60] * 25),
        ("Australia/Lord_Howe", "2026-04-05", "1h", [60, 90, *[60] * 22]),
        ("Australia/Lord_Howe", "2026-10-04", "1h", [60, 90, *[60] * 21]),
        ("America/New_York", "2026-11-01", "1d", [25 * 60]),
    ],
)
def test_nights_on_which_the_clock_is_changed(zone, day, interval, minutes):
    start, end = read_range(f"{day}/{day}", interval, zone, NOW)
    found = buckets(start, end, interval, zone)
    assert [(one.end - one.start) / timedelta(minutes=1) for one in found] == minutes


@given(
    st.sampled_from(ZONES),
    st.sampled_from(["5min", "1h", "1d", "1w", "1mo"]),
    st.datetimes(datetime(2011, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
    st.timedeltas(timedelta(minutes=1), timedelta(days=9)),
)
def test_buckets_fill_their_range_and_begin_where_the_clock_says(zone, interval, start, length):
    start = ranges.floor(start, interval, zone)
    end = ranges.ceil(start + length, interval, zone)
    found = buckets(start, end, interval, zone)
    assert (found[0].start, found[-1].end) == (start, end)
    assert all(one.end == other.start for one, other in pairwise(found))
    assert all(one.start < one.end for one in found)
    for one in found:
        local = one.start.astimezone(ZoneInfo(zone))
        assert local.second == 0
        assert local.minute % (5 if interval == "5min" else 60) == 0
        if interval not in ("5min", "1h"):
            assert local.hour == 0
        middle = one.start + (one.end - one.start) / 2
        assert ranges.floor(middle, interval, zone) == one.start


def test_equal_questions_have_one_key():
    one = ask(range="7d", filter="country:US|DE,device:mobile", group_by="country")
    for other in (
        ask(range="7d", filter="device:mobile,country:DE|US|US", group_by="country,country"),
        read_document(
            QueryDocument.model_validate({
                "metrics": ["views"], "group_by": ["country"],
                "filter": {"not": {"or": [
                    {"dimension": "device", "operator": "ne", "value": "mobile"},
                    {"dimension": "country", "operator": "not_in", "values": ["DE", "US"]},
                ]}},
            }), REGISTRY, NOW, ANYONE,
        ),
    ):  # fmt: skip
        assert other == one
        assert other.key == one.key
    limited = Principal("eve", "viewer", sources=frozenset({"web"}))
    assert ask(limited, range="7d").key != ask(range="7d").key
    assert ask(range="7d", tz="Asia/Kolkata").key != ask(range="7d").key


@pytest.mark.parametrize(
    ("text", "dimension", "operator", "values"),
    [
        ("country:", "country", "in", ("",)),
        (r"page:/a\,b|/a\|b\:\\", "page", "in", ("/a,b", "/a|b:\\")),
        ("page!:/x:y", "page", "not_in", ("/x:y",)),
        ("page^:/a", "page", "begins", ("/a",)),
        ("page!~:a", "page", "not_contains", ("a",)),
    ],
)
def test_filters_are_read(text, dimension, operator, values):
    assert filters.read(text) == filters.Condition(dimension, operator, values)


@pytest.mark.parametrize("text", ["country", ":DE", "page~:", "a:b,,c:d", "!:x"])
def test_a_filter_that_is_none_is_refused(text):
    with pytest.raises(ProblemError) as refused:
        filters.read(text)
    assert refused.value.status == 400


def test_a_filter_nested_without_end_is_refused():
    document: dict = {"dimension": "country", "value": "DE"}
    for _ in range(20):
        document = {"not": document}
    with pytest.raises(ProblemError, match="nested"):
        filters.of_document(TypeAdapter(filters.FilterDocument).validate_python(document))


@pytest.mark.parametrize(
    ("parameters", "status", "code", "there_are"),
    [
        ({"name": "vews"}, 422, "unknown_metric", ["views", "users", "peak"]),
        ({"group_by": "city"}, 422, "unknown_dimension", ["country", "device", "page"]),
        ({"filter": "city:x"}, 422, "unknown_dimension", ["country", "device", "page"]),
        ({"name": "users", "filter": "page:/"}, 422, "unknown_dimension", ["country", "device"]),
        ({"groupby": "country"}, 400, "invalid_parameter", None),
        ({"tz": "Berlin"}, 400, "invalid_parameter", None),
        ({"interval": "2h"}, 400, "invalid_parameter", None),
        ({"range": "30d", "interval": "1min"}, 400, "invalid_parameter", None),
        ({"limit": "0"}, 400, "invalid_parameter", None),
        ({"compare": "later"}, 400, "invalid_parameter", None),
        ({"range": "100d", "group_by": "page"}, 422, "beyond_retention", None),
        ({"range": "100d", "tz": "Asia/Kolkata"}, 422, "beyond_retention", None),
        ({"name": "peak", "interval": "1h", "group_by": "sku"}, 422, "not_exact", None),
        ({"name": "peak", "interval": "5min", "range": "1h"}, 422, "unknown_dimension", None),
    ],
)
def test_what_is_not_there_is_refused_with_what_there_is(parameters, status, code, there_are):
    problem = refusal(**parameters)
    assert (problem.status, problem.code) == (status, code)
    if there_are:
        assert list(problem.extra.values())[-1] == there_are


@pytest.mark.parametrize(
    ("parameters", "rollups"),
    [
        ({"interval": "1d"}, "hours"),
        ({"interval": "1d", "tz": "Europe/Berlin"}, "hours"),
        ({"interval": "1d", "tz": "Asia/Kolkata"}, "hours+minutes"),
        ({"interval": "1min", "range": "1h"}, "minutes"),
        ({"interval": "1d", "group_by": "page"}, "events"),
        ({"name": "users", "interval": "1d"}, "hours"),
        ({"name": "users", "interval": "1d", "tz": "Asia/Kolkata"}, "minutes"),
        ({"name": "peak", "interval": "5min", "range": "1h", "group_by": "sku"}, "metrics"),
        ({"range": "100d", "interval": "1d"}, "hours"),
    ],
)
def test_the_cheapest_rollups_that_are_exact_are_asked(parameters, rollups):
    question = ask(**parameters)
    assert plan(question, question.metrics[0], REGISTRY).rollup == rollups


def test_who_may_see_single_sources_is_answered_from_what_tells_them_apart():
    limited = Principal("eve", "viewer", sources=frozenset({"web", "app"}))
    found = plan(ask(limited, interval="1d"), "views", REGISTRY)
    assert (found.rollup, found.tables) == ("events", ("analytics.events",))
    statement, values = found.statement(found.question.buckets)
    assert "source_id IN {sources:Array(String)}" in statement
    assert values == {"sources": ["app", "web"]}
    problem = refusal(limited, name="users")
    assert (problem.status, problem.extra["metrics"]) == (403, ["views"])


def test_an_unfinished_period_is_compared_with_the_same_part_of_the_earlier_one():
    question = ask(range="today", interval="1h", compare="previous")
    found = comparison(question, NOW)
    assert found is not None
    day = datetime(2026, 11, 28, tzinfo=UTC)
    assert (found.question.start, found.question.end) == (day, day.replace(hour=10, minute=17))
    assert found.counterparts == (*range(11), *[None] * 13)
    assert comparison(question, question.start) is None
    whole = comparison(ask(range="last_month", compare="previous"), NOW)
    assert whole is not None
    assert (whole.question.start.month, whole.question.end.month) == (9, 10)


def test_an_earlier_period_is_asked_for_the_groups_of_the_later_one():
    question = ask(range="yesterday", group_by="country", compare="previous", limit="1")
    found = comparison(question, NOW)
    assert found is not None
    assert found.question.ranking == ranges.Bucket(question.start, question.end)
    statement, _values = plan(found.question, "views", REGISTRY).statement(found.question.buckets)
    assert statement.count("2026-11-28 00:00:00") == 2  # the end of one, the start of the other
    assert found.question.key != ask(range="2026-11-27/2026-11-27", group_by="country").key


def test_hours_are_compared_with_hours_of_the_same_name():
    question = ask(range="2026-10-25/2026-10-25", interval="1h", compare="1d", tz="Europe/Berlin")
    found = comparison(question, NOW)
    assert found is not None
    assert len(found.question.buckets) == 24
    # the hour that comes twice is compared once
    assert found.counterparts == (0, 1, 2, None, *range(3, 24))


def test_a_cursor_belongs_to_its_list():
    cursor = cursors.cursor(3, "list")
    assert (cursors.position(cursor, "list"), cursors.position("", "list")) == (3, 0)
    for wrong, of in ((cursor, "other"), ("x", "list"), ("WzEsIDJd", "list")):
        with pytest.raises(ProblemError, match="another question"):
            cursors.position(wrong, of)


@pytest.mark.parametrize("limit", ["0", "10001", "1" + 4_400 * "0", "000000001" + 4_400 * "0"])
def test_a_limit_is_a_small_number(limit: str) -> None:
    assert refusal(limit=limit).status == 400


def test_a_filter_has_a_bound() -> None:
    whole = ",".join(f"device:{'x' * 2_000}{number}" for number in range(20))
    assert "32,768 characters" in refusal(filter=whole).detail


@pytest.mark.parametrize("text", [base64.urlsafe_b64encode(b"[" * 3_000).decode(), "x" * 200, "é"])
def test_a_cursor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ProblemError) as refused:
        cursors.position(text, "a question")
    assert refused.value.status == 400
    assert cursors.position(cursors.cursor(10**9, "a question"), "a question") == 10**9
