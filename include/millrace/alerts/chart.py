"""A small picture of the last hours: the value, its threshold, and since when the alert is on."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace.alerts.content import series_statement
from millrace.alerts.evaluation import MINUTE, Evaluator
from millrace.alerts.model import Labels, Rule
from millrace.alerts.promql import Expression
from millrace.alerts.templates import in_unit

HISTORY = timedelta(hours=3)
SERIES_LIMIT = 6
SIZE_INCHES, DOTS_PER_INCH = (8.0, 3.2), 140
INK, FAINT, ALARM = "#24292f", "#6e7781", "#c0392b"
LINES = ("#1f6feb", "#8250df", "#0a7d8c", "#bf8700", "#57606a", "#bf3989")
Points = list[tuple[datetime, float]]


@dataclass(frozen=True)
class Picture:
    """What is drawn. ``since`` and ``until`` bound the time in which the alert was on."""

    title: str
    subtitle: str
    unit: str
    values: dict[str, Points]
    thresholds: dict[str, Points] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None


def draw(picture: Picture) -> bytes:
    """Return a PNG of 1120 by 448 pixels."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    with rc_context({"text.parse_math": False}):  # two dollars in a label are no formula
        _draw(figure, picture)
        file = io.BytesIO()
        canvas.print_png(file)  # type: ignore[no-untyped-call]
    return file.getvalue()


def _draw(figure: Any, picture: Picture) -> None:
    axes: Any = figure.add_subplot()
    for (name, points), colour in zip(picture.values.items(), LINES, strict=False):
        axes.plot(*_with_gaps(points), color=colour, linewidth=1.7, label=name)
        axes.plot(*points[-1], color=colour, marker="o", markersize=4)
    for number, points in enumerate(picture.thresholds.values()):
        style: dict[str, Any] = {"color": ALARM, "linestyle": (0, (5, 3)), "linewidth": 1.2}
        axes.plot(*_with_gaps(points), label=None if number else "threshold", **style)
    _shade(axes, picture)
    _label(axes, picture)


def _with_gaps(points: Points) -> tuple[list[datetime], list[float]]:
    """Return times and values, with a break where minutes are missing."""
    times, values = [], []
    for number, (moment, value) in enumerate(points):
        if number and moment - points[number - 1][0] > MINUTE:
            times.append(moment - MINUTE)
            values.append(math.nan)
        times.append(moment)
        values.append(value)
    return times, values


def _shade(axes: Any, picture: Picture) -> None:
    """Mark the time in which the alert was on."""
    if picture.since is None or picture.until is None:
        return
    first = min(points[0][0] for points in picture.values.values())
    # An alert of one minute is to be seen, too.
    since = max(first, min(picture.since, picture.until - MINUTE))
    axes.axvspan(since, picture.until, color=ALARM, alpha=0.13, linewidth=0)
    axes.axvline(since, color=ALARM, linewidth=1)
    axes.annotate(
        f" since {picture.since:%H:%M} ",
        (since, 0.98),
        xycoords=("data", "axes fraction"),
        horizontalalignment="left" if since - first < HISTORY / 6 else "right",
        verticalalignment="top",
        fontsize=8,
        color=ALARM,
    )


def _label(axes: Any, picture: Picture) -> None:
    """Write what the picture shows, and draw axes no louder than that."""
    from matplotlib.dates import AutoDateLocator, DateFormatter
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_title(picture.title, fontsize=11, fontweight="bold", loc="left", color=INK, pad=20)
    subtitle = axes.annotate(
        picture.subtitle,
        (0, 1),
        xytext=(0, 7),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=8,
        color=FAINT,
    )
    subtitle.set_in_layout(False)  # a long one would take the curve's room
    heights = [v for points in picture.values.values() for _, v in points if math.isfinite(v)]
    axes.margins(x=0.01, y=0.15)
    if heights and min(heights) >= 0:
        axes.set_ylim(bottom=0)  # how deep it fell shows only against nothing
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 3, 5, 6, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: in_unit(value, picture.unit)))
    if picture.unit not in ("ratio", "seconds"):
        axes.set_ylabel(picture.unit, fontsize=8, color=FAINT)
    axes.xaxis.set_major_locator(AutoDateLocator(minticks=4, maxticks=9, tz=UTC))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=UTC))  # type: ignore[no-untyped-call]
    days = {moment.date() for points in picture.values.values() for moment, _ in points}
    axes.set_xlabel(f"{' and '.join(map(str, sorted(days)))}, UTC", fontsize=8, color=FAINT)
    axes.tick_params(labelsize=8, colors=FAINT, length=0)
    axes.grid(axis="y", color="#d0d7de", linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#d0d7de")
    if len(picture.values) + len(picture.thresholds) > 1:
        figure = axes.figure
        figure.legend(
            loc="outside lower right", ncols=SERIES_LIMIT, fontsize=8, frameon=False,
            labelcolor=INK, handlelength=1.6,
        )  # fmt: skip


def of_rule(evaluator: Evaluator, rule: Rule, alert: dict[str, Any], at: datetime) -> bytes | None:
    """Return the picture of an alert up to ``at``, or None where there is nothing to draw.

    ``alert`` is as a notification's content describes it. Where the rule has that alert's series,
    only it is drawn.
    """
    comparison = rule.parsed.comparison
    value = comparison.value if comparison else rule.parsed
    labels: Labels = alert["labels"]
    values = _lines(evaluator, value, at, labels)
    if not values:
        return None
    thresholds: dict[str, Points] = {}
    if comparison is not None:
        thresholds = _lines(evaluator, comparison.threshold, at, labels)
    summary = alert["annotations"].get("summary")
    return draw(
        Picture(
            title=_cut(summary or rule.name, 90),
            subtitle=_cut(f"{rule.name}: {' '.join(rule.expression.split())}", 120),
            unit=alert["annotations"].get("unit", ""),
            values=_named(values, "value"),
            thresholds=thresholds,
            since=datetime.fromisoformat(alert["active_since"]),
            until=at,
        )
    )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _named(lines: dict[str, Points], name: str) -> dict[str, Points]:
    """Name a single line for what it is; several keep their labels."""
    return {name: next(iter(lines.values()))} if len(lines) == 1 else lines


def _lines(
    evaluator: Evaluator, expression: Expression, at: datetime, labels: Labels
) -> dict[str, Points]:
    """Return the alert's own series; where it has none, the highest of those that there are."""
    since = at - HISTORY
    # Thousands of series over hours would fill the memory, so that ClickHouse chooses.
    rows = evaluator.rows(series_statement(expression, labels), since, at)
    rows = rows or evaluator.rows(series_statement(expression), since, at)
    lines: dict[str, Points] = {}
    for t, _part, series, v in sorted(rows, key=lambda row: row[0]):
        name = ", ".join(f"{k}={w}" for k, w in series.items() if k != "__name__") or "value"
        lines.setdefault(name, []).append((datetime.fromtimestamp(t / 1000, UTC), v))
    return dict(sorted(lines.items(), key=lambda item: -_height(item[1]))[:SERIES_LIMIT])


def _height(points: Sequence[tuple[datetime, float]]) -> float:
    return max(value for _, value in points)
