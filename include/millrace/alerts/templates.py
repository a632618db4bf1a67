"""Annotations: sentences with a rule's labels and value filled in, as Jinja templates.

A template may use ``labels`` (``{{ labels.country }}``), ``value``, ``threshold``, ``rule`` and
the filters ``humanize``, ``percentage``, ``duration`` and ``count``, where
``{{ value | count("event") }}`` is ``1 event`` or ``2 events``. A number that is not there, as when
there was no data, reads "no value", also after arithmetic. It runs in Jinja's sandbox.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from jinja2 import StrictUndefined, Template, TemplateError, Undefined
from jinja2.sandbox import SandboxedEnvironment

LENGTH_LIMIT = 1000
"""Characters kept of a rendered annotation."""


class _NoValue(float):
    """What stands for a number that is not there: what is computed from it is none, either."""

    def __new__(cls) -> _NoValue:
        return super().__new__(cls, math.nan)

    def __bool__(self) -> bool:
        return False


def _not_finite(value: float | None) -> str:
    """Return in words what a value is that no unit fits; empty for a number."""
    if value is None or math.isnan(value):
        return "no value"
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    return ""


def humanize(value: float | None) -> str:
    """Return a number as people write it: ``1,234``, ``12.3 k``, ``0.0123``."""
    if value is None or not math.isfinite(value):
        return _not_finite(value)
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
    if value is None or not math.isfinite(value):
        return _not_finite(value)
    return f"{value * 100:.3g} %" if abs(value) < 1 else f"{humanize(value * 100)} %"


def duration(seconds: float | None) -> str:
    """Return seconds as ``2 h 5 min``."""
    if seconds is None or not math.isfinite(seconds):
        return _not_finite(seconds)
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes >= 2 * 24 * 60:
        return f"{minutes / (24 * 60):.3g} days"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def count(value: float | None, noun: str) -> str:
    """Return how many there are of something: ``1 event``, ``2,000 events``."""
    return f"{humanize(value)} {noun}{'' if value == 1 else 's'}"


def of_one(unit: str) -> str:
    """Return a unit of several as that of one: ``event a minute`` for ``events a minute``."""
    noun, *rest = unit.split(" ")
    is_plural = noun.endswith("s") and not noun.endswith("ss") and len(noun) > len("ms ")
    return " ".join([noun.removesuffix("s") if is_plural else noun, *rest])


def _shown(found: object) -> object:
    """Return what a template shows of a value that no filter has put into words."""
    return humanize(found) if isinstance(found, float) and not math.isfinite(found) else found


@lru_cache(maxsize=2)
def _environment(undefined: type[Undefined]) -> SandboxedEnvironment:
    environment = SandboxedEnvironment(undefined=undefined, autoescape=False, finalize=_shown)
    environment.filters.update(
        humanize=humanize, percentage=percentage, duration=duration, count=count
    )
    return environment


@lru_cache(maxsize=1_024)
def _template(environment: SandboxedEnvironment, text: str) -> Template:
    """Compile a template; kept, since one rule's may be filled in for a thousand alerts."""
    return environment.from_string(text)


def check(text: str) -> None:
    """Raise ``ValueError`` with the reason when a template cannot be rendered."""
    try:
        _template(_environment(Undefined), text).render(
            labels={}, value=1.0, threshold=1.0, rule="name"
        )
    except Exception as error:  # a template calls methods, which raise what they like
        raise ValueError(f"template {text!r}: {_said(error)}") from error


def render(
    text: str, *, rule: str, labels: Mapping[str, str], value: float | None, threshold: float | None
) -> str:
    """Return a template with an alert filled in; what fails to render says so in its place."""
    numbers = {
        name: _NoValue() if number is None else number
        for name, number in (("value", value), ("threshold", threshold))
    }
    try:
        template = _template(_environment(StrictUndefined), text)
        rendered = template.render(labels=labels, rule=rule, **numbers)
    except Exception as error:  # noqa: BLE001  whatever it is, every other alert waits behind it
        rendered = f"{rule} (its text could not be made: {_said(error)})"
    return rendered[:LENGTH_LIMIT]


def _said(error: Exception) -> str:
    """Return what an error says; some say a key alone, or nothing."""
    is_clear = isinstance(error, TemplateError) and str(error)
    return str(error) if is_clear else f"{type(error).__name__}: {error}"
