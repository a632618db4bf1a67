"""Jitsu's routes: Segment's events, one a request, under ``/api/s``."""

from __future__ import annotations

from typing import ClassVar

from millrace.api.http import Request, Response
from millrace.api.ingestion.families.segment import TYPES, Segment


class Jitsu(Segment):
    """``/api/s/{type}`` from browsers, ``/api/s/s2s/{type}`` from servers."""

    name: ClassVar[str] = "jitsu"
    routes = tuple(
        ("POST", f"/api/s/{prefix}{kind}") for prefix in ("", "s2s/") for kind in (*TYPES, "batch")
    )

    def discovery(self, request: Request) -> Response | None:
        """Answer nothing: these SDKs ask nothing."""
        return None
