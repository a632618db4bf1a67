"""Families of routes: how each kind of SDK sends, and how it reads the answer."""

from __future__ import annotations

import re

from millrace.api.ingestion.families.amplitude import Amplitude
from millrace.api.ingestion.families.family import Family
from millrace.api.ingestion.families.jitsu import Jitsu
from millrace.api.ingestion.families.millrace import Millrace
from millrace.api.ingestion.families.mixpanel import Mixpanel
from millrace.api.ingestion.families.posthog import PostHog
from millrace.api.ingestion.families.segment import Segment
from millrace.api.ingestion.families.shared import Shared
from millrace.api.ingestion.families.snowplow import Snowplow
from millrace.api.ingestion.families.web import OpenPanel, Plausible, Umami

FAMILIES: tuple[Family, ...] = (
    Millrace(),
    Shared(),
    Segment(),
    PostHog(),
    Amplitude(),
    Mixpanel(),
    Snowplow(),
    Jitsu(),
    OpenPanel(),
    Umami(),
    Plausible(),
)
"""Every family. Of several that have a route, the first gets its requests."""


def _pattern(path: str) -> re.Pattern[str]:
    """Return what a route with ``{name}`` or ``*`` matches."""
    parts = re.split(r"(\{\w+\}|\*)", path)
    known = {"*": ".+"}
    return re.compile(
        "".join(
            known.get(part, "[^/]+") if part[:1] in {"{", "*"} else re.escape(part)
            for part in parts
            if part
        )
    )


def _is_exact(path: str) -> bool:
    return "{" not in path and "*" not in path


_EXACT = {
    (method, path): family
    for family in reversed(FAMILIES)
    for method, path in family.routes
    if _is_exact(path)
}
_PATTERNS = tuple(
    (method, _pattern(path), family)
    for family in FAMILIES
    for method, path in family.routes
    if not _is_exact(path)
)


def meant(method: str, path: str) -> tuple[Family | None, str]:
    """Return the family that a request is for, and the path that its route has.

    An address that an SDK was given with a slash at its end makes paths that begin with two; and
    some people and proxies put one at a path's end, or take it away.
    """
    family = find(method, path)
    if family is not None:
        return family, path
    tidy = re.sub("//+", "/", path)
    for candidate in (tidy, tidy.removesuffix("/"), tidy + "/"):
        family = find(method, candidate)
        if family is not None:
            return family, candidate
    return None, path


def find(method: str, path: str) -> Family | None:
    """Return the family that a request is for; nothing if it is for none."""
    family = _EXACT.get((method, path))
    if family is not None:
        return family
    for wanted, pattern, candidate in _PATTERNS:
        if method == wanted and pattern.fullmatch(path):
            return candidate
    return None
