"""A small picture of the last hours: the value, and the threshold it is compared with."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from millrace.alerts.content import series_statement
from millrace.alerts.evaluation import Evaluator
from millrace.alerts.model import Labels, Rule

HISTORY = timedelta(hours=3)
SERIES_LIMIT = 6
Points = list[tuple[datetime, float]]


def draw(
    title: str, values: dict[str, Points], thresholds: dict[str, Points], since: datetime | None
) -> bytes:
    """Return a PNG of 800 by 300 pixels. ``since`` marks when the alert began."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import ConciseDateFormatter, date2num
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, points in values.items():
        axes.plot(*zip(*points, strict=True), linewidth=1.6, label=name)
    for name, points in thresholds.items():
        axes.plot(
            *zip(*points, strict=True), color="#c0392b", linestyle="--", linewidth=1.2, label=name
        )
    if since is not None:
        newest = max(points[-1][0] for points in values.values())
        shaded = date2num([since, newest])  # type: ignore[no-untyped-call]
        axes.axvspan(*shaded, color="#c0392b", alpha=0.12)
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(alpha=0.3)
    axes.margins(x=0.01)
    formatter = ConciseDateFormatter(axes.xaxis.get_major_locator(), tz=UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    axes.spines[["top", "right"]].set_visible(False)
    if len(values) + len(thresholds) > 1:
        axes.legend(fontsize=8, loc="upper left", frameon=False)
    file = io.BytesIO()
    canvas.print_png(file)  # type: ignore[no-untyped-call]
    return file.getvalue()


def of_rule(
    evaluator: Evaluator, rule: Rule, labels: Labels, at: datetime, since: datetime | None
) -> bytes | None:
    """Return the picture of a rule up to ``at``, or None where there is nothing to draw.

    ``labels`` are an alert's: where the rule has that alert's series, only it is drawn.
    """
    comparison = rule.parsed.comparison
    value = comparison.value if comparison else rule.parsed
    values = _lines(evaluator, series_statement(value), at, labels)
    if not values:
        return None
    thresholds: dict[str, Points] = {}
    if comparison is not None:
        thresholds = _lines(evaluator, series_statement(comparison.threshold), at, labels)
    return draw(
        f"{rule.name}: {value.text} (UTC)"[:110],
        _named(values, "value"),
        _named(thresholds, "threshold"),
        since,
    )


def _named(lines: dict[str, Points], name: str) -> dict[str, Points]:
    """Name a single line for what it is; several keep their labels."""
    return {name: next(iter(lines.values()))} if len(lines) == 1 else lines


def _lines(evaluator: Evaluator, statement: str, at: datetime, labels: Labels) -> dict[str, Points]:
    rows = evaluator.rows(statement, at - HISTORY, at)
    own = [row for row in rows if all(labels.get(k) == v for k, v in row[2].items())]
    lines: dict[str, Points] = {}
    for t, _part, series, v in sorted(own or rows, key=lambda row: row[0]):
        name = ", ".join(f"{k}={w}" for k, w in series.items() if k != "__name__") or "value"
        lines.setdefault(name, []).append((datetime.fromtimestamp(t / 1000, UTC), v))
    return dict(sorted(lines.items(), key=lambda item: -_height(item[1]))[:SERIES_LIMIT])


def _height(points: Sequence[tuple[datetime, float]]) -> float:
    return max(value for _, value in points)
