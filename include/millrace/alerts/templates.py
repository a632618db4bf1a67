"""Annotations: sentences with a rule's labels and value filled in, as Jinja templates.

A template may use ``labels`` (``{{ labels.country }}``), ``value``, ``threshold``, ``rule`` and
the filters ``humanize``, ``percentage`` and ``duration``. It runs in Jinja's sandbox.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from jinja2 import StrictUndefined, TemplateError, Undefined
from jinja2.sandbox import SandboxedEnvironment

LENGTH_LIMIT = 1000
"""Characters kept of a rendered annotation."""


def humanize(value: float | None) -> str:
    """Return a number as people write it: ``1,234``, ``12.3 k``, ``0.0123``."""
    if value is None:
        return "no value"
    if not math.isfinite(value):
        return f"{value:g}"
    for least, unit, name in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:,.4g} {name}"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"


def in_unit(value: float | None, unit: str) -> str:
    """Return a value as its unit wants it: of a ratio the percentage, of seconds the duration."""
    return {"ratio": percentage, "seconds": duration}.get(unit, humanize)(value)


def percentage(value: float | None) -> str:
    """Return a ratio as a percentage."""
    return "no value" if value is None else f"{value * 100:.3g} %"


def duration(seconds: float | None) -> str:
    """Return seconds as ``2 h 5 min``."""
    if seconds is None:
        return "no value"
    if seconds < 120 or not math.isfinite(seconds):
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes >= 2 * 24 * 60:
        return f"{minutes / (24 * 60):.3g} days"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


@lru_cache(maxsize=2)
def _environment(undefined: type[Undefined]) -> SandboxedEnvironment:
    environment = SandboxedEnvironment(undefined=undefined, autoescape=False)
    environment.filters.update(humanize=humanize, percentage=percentage, duration=duration)
    return environment


def check(text: str) -> None:
    """Raise ``ValueError`` with the reason when a template cannot be rendered."""
    try:
        _environment(Undefined).from_string(text).render(
            labels={}, value=1.0, threshold=1.0, rule="name"
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise ValueError(f"template {text!r}: {error}") from error


def render(
    text: str, *, rule: str, labels: Mapping[str, str], value: float | None, threshold: float | None
) -> str:
    """Return a template with an alert filled in; what fails to render says so in its place."""
    try:
        rendered = (
            _environment(StrictUndefined)
            .from_string(text)
            .render(labels=labels, value=value, threshold=threshold, rule=rule)
        )
    except (TemplateError, TypeError, ValueError) as error:
        rendered = f"{text} (template failed: {error})"
    return rendered[:LENGTH_LIMIT]
