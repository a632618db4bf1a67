"""Charts of a report: SVG that stands in the page, readable at the width of a telephone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 22
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c8c8c")
"""Okabe and Ito's, which people tell apart whatever colours they see; also in print."""

MOST_LINES = len(COLOURS)


@dataclass(frozen=True)
class Line:
    """A series as it is drawn: points as the query API answers them."""

    label: str
    colour: str
    points: Sequence[dict[str, Any]]


def chart(lines: Sequence[Line], zone: str, label: str) -> Markup:
    """Return a chart of lines over the same buckets; ``label`` is what it shows, in words.

    What is not complete is dashed, what an audit withholds is shaded, and the earlier period that
    it is compared with is faint. Where there is no number there is no line.
    """
    count = len(lines[0].points)
    values = [
        value
        for line in lines
        for point in line.points
        for value in (point["value"], point.get("compared"))
        if value is not None
    ]
    ticks = _ticks(min([0.0, *values]), max([0.0, *values]))
    scale = _Scale(count, ticks[0], ticks[-1])
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}" '
        'xmlns="http://www.w3.org/2000/svg">',
        *_axes(scale, ticks, lines[0].points, ZoneInfo(zone)),
        *_withheld(scale, lines[0].points),
    ]
    if len(lines) == 1:
        before = [point.get("compared") for point in lines[0].points]
        parts += _curve(scale, before, ["complete"] * count, "#9aa3ad", 1.2)
    for line in reversed(lines):
        own = [point["value"] for point in line.points]
        statuses = [point["status"] for point in line.points]
        parts += _curve(scale, own, statuses, line.colour, 1.8)
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704  numbers of ours, and escaped texts


@dataclass(frozen=True)
class _Scale:
    count: int
    low: float
    high: float

    def x(self, number: float) -> float:
        """Return where the middle of a bucket is."""
        return LEFT + (WIDTH - LEFT - RIGHT) * (number + 0.5) / self.count

    def y(self, value: float) -> float:
        """Return where a value is."""
        share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share


def _ticks(low: float, high: float) -> list[float]:
    """Return four to seven round numbers that enclose a range."""
    if high <= low:
        high = low + 1
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def short(value: float) -> str:
    """Return a number for an axis: 1.5k, 20M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _axes(
    scale: _Scale, ticks: Sequence[float], points: Sequence[dict[str, Any]], zone: ZoneInfo
) -> Iterator[str]:
    for tick in ticks:
        y = scale.y(tick)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#dde2e7" stroke-width=".7"/>'
        yield (
            f'<text x="{LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end" class="axis">'
            f"{short(tick)}</text>"
        )
    moments = [datetime.fromisoformat(point["start"]).astimezone(zone) for point in points]
    form = "%H:%M" if moments[-1].date() == moments[0].date() else "%d %b"
    every = math.ceil(len(moments) / 5)
    said = ""
    for number in range(0, len(moments), every):
        text = moments[number].strftime(form).lstrip("0")
        if text != said:
            said = text
            yield (
                f'<text x="{scale.x(number):.1f}" y="{HEIGHT - 6}" text-anchor="middle" '
                f'class="axis">{text}</text>'
            )


def _withheld(scale: _Scale, points: Sequence[dict[str, Any]]) -> Iterator[str]:
    width = (WIDTH - LEFT - RIGHT) / scale.count
    for number, point in enumerate(points):
        if point["status"] == "withheld":
            x = scale.x(number) - width / 2
            height = HEIGHT - BOTTOM - TOP
            yield (
                f'<rect x="{x:.1f}" y="{TOP}" width="{width:.1f}" height="{height}" '
                'fill="#d55e00" fill-opacity=".15"/>'
            )


def _curve(
    scale: _Scale,
    values: Sequence[float | None],
    statuses: Sequence[str],
    colour: str,
    width: float,
) -> Iterator[str]:
    """Draw what joins two numbers beside one another, and a dot where a number is alone."""
    solid: list[str] = []
    dashed: list[str] = []
    for number, (before, after) in enumerate(pairwise(values)):
        if before is None or after is None:
            continue
        piece = (
            f"M{scale.x(number):.1f} {scale.y(before):.1f}"
            f"L{scale.x(number + 1):.1f} {scale.y(after):.1f}"
        )
        (solid if statuses[number + 1] == "complete" else dashed).append(piece)
    for pieces, dash in ((solid, ""), (dashed, ' stroke-dasharray="3 3"')):
        if pieces:
            yield (
                f'<path d="{"".join(pieces)}" fill="none" stroke="{colour}" '
                f'stroke-width="{width}" stroke-linecap="round"{dash}/>'
            )
    padded = [None, *values, None]  # so that the first and the last have neighbours
    for number, value in enumerate(values):
        if value is not None and padded[number] is None and padded[number + 2] is None:
            place = f'cx="{scale.x(number):.1f}" cy="{scale.y(value):.1f}"'
            yield f'<circle {place} r="2.2" fill="{colour}"/>'
