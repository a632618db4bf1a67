"""A report as one page of HTML that needs nothing else: style, charts and numbers are in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from millrace.reports import drawing
from millrace.reports.model import Report
from millrace.reports.numbers import Answered

MOST_ROWS = 40
"""Groups that a table shows; how many more there are stands below it."""

WORTH = {
    "complete": "complete",
    "provisional": "not complete yet",
    "withheld": "withheld by an audit",
    "no_data": "no data",
    "future": "still to come",
}


@dataclass(frozen=True)
class Row:
    """A group in a panel's table."""

    colour: str
    label: str
    value: str
    compared: str
    change: str
    worth: str


@dataclass(frozen=True)
class Section:
    """A metric of a panel."""

    metric: str
    meaning: str
    span: str
    chart: Markup | None
    rows: list[Row]
    hidden: int
    is_compared: bool
    worth: str


@dataclass(frozen=True)
class Summary:
    """A line of a report, for a mail or a message in a chat."""

    title: str
    text: str


def render(report: Report, answered: Sequence[Answered], made_at: datetime) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("millrace.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    panels = [
        {
            "title": one.panel.title,
            "problem": one.problem,
            "sections": list(_sections(one.answer)) if one.answer else [],
            "changes": one.answer["changes"] if one.answer else [],
        }
        for one in answered
    ]
    untils = [one.answer["statistics"]["complete_until"] for one in answered if one.answer]
    return environment.get_template("report.html").render(
        report=report,
        panels=panels,
        made_at=f"{made_at:%Y-%m-%d %H:%M} UTC",
        complete_until=moment(min(untils), "UTC") if untils else "",
    )


def summarize(answered: Sequence[Answered]) -> list[Summary]:
    """Return a line for each metric: its number, how it changed, what it is worth."""
    lines = []
    for one in answered:
        if one.answer is None:
            lines.append(Summary(one.panel.title, one.problem))
            continue
        for metric, section in zip(one.answer["metrics"], _sections(one.answer), strict=True):
            several = len(one.answer["metrics"]) > 1
            title = f"{one.panel.title}: {metric['name']}" if several else one.panel.title
            if len(section.rows) == 1:
                first = section.rows[0]
                parts = [first.value, first.change]
            else:
                parts = [f"{row.label} {row.value}" for row in section.rows[:3]]
            lines.append(Summary(title, ", ".join([part for part in parts if part])))
    return lines


def _sections(answer: Mapping[str, Any]) -> Iterator[Section]:
    zone = answer["range"]["zone"]
    span = f"{moment(answer['range']['start'], zone)} to {moment(answer['range']['end'], zone)}"
    for metric in answer["metrics"]:
        series = metric["series"]
        drawn = [
            drawing.Line(label(one["group"]), colour, one["points"])
            for one, colour in zip(series, drawing.COLOURS, strict=False)
        ]
        has_curve = bool(drawn) and len(drawn[0].points) > 1
        what = f"{metric['name']}, {span}"
        worth = _worth(series[0]["points"]) if series else ""
        yield Section(
            metric=metric["name"],
            meaning=metric["meaning"],
            span=f"{span} ({zone})",
            chart=drawing.chart(drawn, zone, what) if has_curve else None,
            rows=[
                _row(one, metric["unit"], drawing.COLOURS[number : number + 1], worth)
                for number, one in enumerate(series[:MOST_ROWS])
            ],
            hidden=max(0, len(series) - MOST_ROWS),
            is_compared=answer.get("compared") is not None,
            worth=worth,
        )


def _row(series: Mapping[str, Any], unit: str, colours: Sequence[str], known: str) -> Row:
    """Describe a group; ``known`` is what stands above about the numbers of all."""
    value, compared = series["total"], series.get("compared_total")
    points = series["points"]
    if value is None:  # what does not add up: the newest number that there is
        newest = next((one for one in reversed(points) if one["value"] is not None), None)
        if newest is not None:
            value, compared = newest["value"], newest.get("compared")
    return Row(
        colour="".join(colours),
        label=label(series["group"]),
        value=in_unit(value, unit),
        compared=in_unit(compared, unit),
        change=change(value, compared),
        worth="" if (worth := _worth(points)) == known else worth,
    )


def _worth(points: Sequence[Mapping[str, Any]]) -> str:
    """Say how many numbers are not complete, and how they are; nothing where all are."""
    counts: dict[str, int] = {}
    for point in points:
        if point["status"] not in ("complete", "future"):
            counts[point["status"]] = counts.get(point["status"], 0) + 1
    said = [f"{count} of {len(points)} {WORTH[status]}" for status, count in counts.items()]
    return "; ".join(said)


def label(group: Mapping[str, str]) -> str:
    """Return what a group is called."""
    return ", ".join(value or "(empty)" for value in group.values()) or "all"


def in_unit(value: float | None, unit: str) -> str:
    """Return a number as people read it."""
    if value is None:
        return "none"
    if unit == "ratio":
        return f"{value:.1%}"
    number = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"
    return {"seconds": f"{number} s", "bytes": f"{number} B"}.get(unit, number)


def change(value: float | None, compared: float | None) -> str:
    """Return how a number changed against the earlier period."""
    if value is None or not compared:
        return ""
    return f"{(value - compared) / abs(compared):+.1%}"


def moment(text: str, zone: str) -> str:
    """Return a moment of an answer as people of a zone read it."""
    local = datetime.fromisoformat(text).astimezone(ZoneInfo(zone))
    return f"{local:%Y-%m-%d %H:%M}"
