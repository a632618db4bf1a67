"""Routes that two families' SDKs send to: told apart here, by header or body, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from millrace.api.http import ProblemError, Request, Response
from millrace.api.ingestion import bodies
from millrace.api.ingestion.batches import Batch, Outcome
from millrace.api.ingestion.families.amplitude import Amplitude
from millrace.api.ingestion.families.family import Account, Family
from millrace.api.ingestion.families.mixpanel import Mixpanel
from millrace.api.ingestion.families.posthog import PostHog
from millrace.api.ingestion.families.web import OpenPanel


class Shared(Family):
    """``/track`` is Mixpanel's and OpenPanel's, ``/batch`` is PostHog's and Amplitude's."""

    name: ClassVar[str] = "shared"
    routes = (("POST", "/track"), ("POST", "/batch"))

    def __init__(self) -> None:
        self._openpanel, self._mixpanel = OpenPanel(), Mixpanel()
        self._amplitude, self._posthog = Amplitude(), PostHog()

    def of(self, request: Request) -> Family:
        """Return whose request it is."""
        document = _document(request)
        if request.path == "/batch":
            # Before it is read, or where it can't be, Amplitude's: it alone reads a refusal's code.
            is_amplitudes = document is None or "events" in document
            return self._amplitude if is_amplitudes else self._posthog
        is_openpanel = "openpanel-client-id" in request.headers or "payload" in (document or ())
        return self._openpanel if is_openpanel else self._mixpanel

    def key(self, request: Request) -> str | None:
        """Return the key as the family whose request it is has it."""
        return self.of(request).key(request)

    def read(self, request: Request, account: Account) -> Batch:
        """Translate as that family does."""
        return self.of(request).read(request, account)

    def answer(self, request: Request, outcome: Outcome) -> Response:
        """Answer as that family does."""
        return self.of(request).answer(request, outcome)

    def refuse(self, request: Request, problem: ProblemError) -> Response:
        """Refuse as that family does."""
        return self.of(request).refuse(request, problem)


def _document(request: Request) -> Mapping[str, object] | None:
    """Return a body's object, an empty one for another document; nothing where there is none."""
    try:
        document = bodies.document(request)
    except ProblemError:
        return None
    return document if isinstance(document, Mapping) else {}
