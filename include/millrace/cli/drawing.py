"""Bars as SVG, for documents: drawn from numbers, the same to the byte each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, ROW, LEFT, TOP = 840, 40, 330, 56
LONGEST = WIDTH - LEFT - 150


@dataclass(frozen=True)
class Bar:
    """A bar: what it is of, how long it is, and what stands at its end."""

    name: str
    value: float
    label: str
    is_ours: bool = False


def bars(title: str, subtitle: str, drawn: Sequence[Bar]) -> str:
    """Return bars beneath one another, the longest as long as there is room."""
    height = TOP + ROW * len(drawn) + 12
    most = max(bar.value for bar in drawn)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{escape(title)}" font-family="system-ui, sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
        '<text x="16" y="26" font-size="17" font-weight="600" fill="#1f2328">'
        f"{escape(title)}</text>",
        f'<text x="16" y="45" font-size="13" fill="#57606a">{escape(subtitle)}</text>',
    ]
    for number, bar in enumerate(drawn):
        y = TOP + ROW * number
        length = max(2, round(LONGEST * bar.value / most))
        colour = "#0969da" if bar.is_ours else "#afb8c1"
        parts += [
            f'<text x="{LEFT - 12}" y="{y + 22}" font-size="14" text-anchor="end" '
            f'fill="#1f2328">{escape(bar.name)}</text>',
            f'<rect x="{LEFT}" y="{y + 5}" width="{length}" height="24" rx="3" fill="{colour}"/>',
            f'<text x="{LEFT + length + 10}" y="{y + 22}" font-size="14" '
            f'fill="#1f2328">{escape(bar.label)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
