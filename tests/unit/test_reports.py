"""Reports: when they are due, and the page that says what each number is worth."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest

from millrace.reports import page
from millrace.reports.model import Panel, Report, ReportError, Schedule, read, read_schedule
from millrace.reports.numbers import Answered

BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("schedule", "now", "due"),
    [
        (Schedule("day", time(7), "UTC"), "2026-03-10 06:59", "2026-03-09 07:00"),
        (Schedule("day", time(7), "UTC"), "2026-03-10 07:00", "2026-03-10 07:00"),
        (Schedule("day", time(7), BERLIN), "2026-03-28 06:30", "2026-03-28 06:00"),
        (Schedule("day", time(7), BERLIN), "2026-03-29 05:30", "2026-03-29 05:00"),  # summer time
        (Schedule("day", time(2, 30), BERLIN), "2026-03-29 12:00", "2026-03-29 01:30"),  # skipped
        (Schedule("day", time(2, 30), BERLIN), "2026-10-25 12:00", "2026-10-25 00:30"),  # twice
        (Schedule("day", time(6), "Asia/Kolkata"), "2026-03-10 00:29", "2026-03-09 00:30"),
        (Schedule("week", time(7), "UTC", 1), "2026-03-11 12:00", "2026-03-09 07:00"),
        (Schedule("week", time(7), "UTC", 3), "2026-03-11 06:00", "2026-03-04 07:00"),
        (Schedule("month", time(0), "UTC", 31), "2026-03-10 12:00", "2026-02-28 00:00"),
        (Schedule("month", time(0), "UTC", 1), "2026-03-01 00:00", "2026-03-01 00:00"),
        (Schedule("month", time(0), "UTC", 30), "2026-03-29 00:00", "2026-02-28 00:00"),
    ],
)
def test_a_report_is_due_at_the_time_of_its_zone(schedule: Schedule, now: str, due: str) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert f"{schedule.last_due(moment):%Y-%m-%d %H:%M}" == due


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"every": "hour"}, "schedule.every"),
        ({"every": "week", "day": 8}, "from 1 to 7"),
        ({"every": "day", "at": "25:00"}, "schedule.at"),
        ({"every": "day", "at": "07:00+02:00"}, "schedule.zone"),
        ({"every": "day", "zone": "Mars/Base"}, "Mars/Base"),
        ({"every": "day", "zone": "../etc/passwd"}, "schedule.zone"),
    ],
)
def test_a_schedule_that_is_none_is_refused(schedule: dict[str, Any], said: str) -> None:
    with pytest.raises(ReportError, match=said):
        read_schedule(schedule)


def test_a_panel_names_a_metric() -> None:
    report = {"name": "r", "title": "R", "owner": "ana", "panels": [{"title": "x", "question": {}}]}
    with pytest.raises(ReportError, match="panels/0"):
        read(report)


START = datetime(2026, 3, 9, tzinfo=UTC)
VALUES = [
    (100, "complete"), (None, "no_data"), (120, "complete"), (None, "withheld"),
    (90, "complete"), (80, "complete"), (30, "provisional"), (None, "future"),
]  # fmt: skip


def answer(group: str = "DE", **changes: Any) -> dict[str, Any]:
    points = [
        {
            "start": (START + timedelta(days=number)).isoformat(),
            "end": (START + timedelta(days=number + 1)).isoformat(),
            "value": value,
            "status": status,
            "reason": None,
            "compared": 100,
        }
        for number, (value, status) in enumerate(VALUES)
    ]
    metric = {
        "name": "page_views", "unit": "views", "kind": "sum", "meaning": "Pages <that> were seen.",
        "series": [{"group": {"country": group}, "total": 420, "compared_total": 800,
                    "points": points}],
    }  # fmt: skip
    return {
        "metrics": [metric],
        "range": {
            "start": START.isoformat(), "end": (START + timedelta(days=8)).isoformat(),
            "interval": "1d", "zone": "UTC",
        },
        "compared": {"start": "", "end": "", "interval": "1d", "zone": "UTC"},
        "changes": [{"cause": "backfill", "detail": "2026-03-10 was rebuilt",
                     "at": "2026-03-12T08:30:00Z", "start": "", "end": ""}],
        "statistics": {"complete_until": "2026-03-15T10:20:00Z"},
        **changes,
    }  # fmt: skip


def rendered(*answered: Answered) -> str:
    report = Report("weekly", "The <week>", "ana", tuple(one.panel for one in answered))
    return page.render(report, answered, datetime(2026, 3, 15, 10, 21, tzinfo=UTC))


VIEWS = Panel("Views by country", {"name": "page_views"})


def test_a_page_says_what_each_number_is_worth_and_needs_nothing_else() -> None:
    html = rendered(Answered(VIEWS, answer("<b>DE</b>")))
    for said in (
        "The &lt;week&gt;", "&lt;b&gt;DE&lt;/b&gt;", "Pages &lt;that&gt; were seen.",
        "420", "800", "-47.5%", "1 of 8 not complete yet", "1 of 8 withheld by an audit",
        "1 of 8 no data", "2026-03-10 was rebuilt", "Changed 2026-03-12 08:30 UTC",
        "everything that was received until\n2026-03-15 10:20 UTC is in the numbers",
        "@media print", "width=device-width",
    ):  # fmt: skip
        assert said in html
    assert "<b>DE" not in html
    assert not re.search(r"<script|<link|<img|@import|url\(|src=", html)
    assert re.findall(r"https?://[^\"]+", html) == ["http://www.w3.org/2000/svg"]


def test_a_line_ends_where_numbers_do_and_is_dashed_where_they_are_not_complete() -> None:
    html = rendered(Answered(VIEWS, answer()))
    drawn = re.search(r"<svg.*?</svg>", html, re.DOTALL)
    assert drawn
    svg = ElementTree.fromstring(drawn[0])  # noqa: S314  ours
    lines = [one.attrib for one in svg.iter() if one.attrib.get("stroke") == "#0072b2"]
    solid = [line["d"] for line in lines if "stroke-dasharray" not in line]
    dashed = [line["d"] for line in lines if "stroke-dasharray" in line]
    assert [path.count("L") for path in solid] == [1]  # 90 to 80
    assert [path.count("L") for path in dashed] == [1]  # 80 to 30
    dots = [one for one in svg.iter() if one.tag.endswith("circle")]
    assert len(dots) == 2  # 100 and 120, alone
    shaded = [one for one in svg.iter() if one.tag.endswith("rect")]
    assert len(shaded) == 1
    assert svg.attrib["viewBox"] == "0 0 360 190"


def test_a_question_that_was_refused_says_so_beside_those_that_were_not() -> None:
    refused = Answered(Panel("Other", {"name": "nosuch"}), None, "No metric is called <nosuch>.")
    html = rendered(refused, Answered(VIEWS, answer()))
    assert "could not be answered: No metric is called &lt;nosuch&gt;." in html
    assert "420" in html
    lines = [
        (line.title, line.text) for line in page.summarize([refused, Answered(VIEWS, answer())])
    ]
    assert lines == [
        ("Other", "No metric is called <nosuch>."),
        ("Views by country", "420, -47.5%"),
    ]


def test_nothing_is_a_page_too() -> None:
    empty = answer()
    empty["metrics"][0]["series"] = []
    assert "Nothing was received." in rendered(Answered(VIEWS, empty))
