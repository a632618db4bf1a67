"""What the families' answers share: the pixel, and how a body that is no batch is refused."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from millrace.api.http import ProblemError, Response
from millrace.api.ingestion.batches import Outcome

PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""A transparent GIF of one point."""


CACHED = {"cache_control": "public, max-age=300"}
"""What answers to discovery say of how long they hold."""


def accepted(outcome: Outcome) -> dict[str, Any]:
    """Return what compatible routes answer with: every member that some SDK takes for success."""
    return {
        "success": True,
        "status": 1,
        "code": 200,
        "message": "OK",
        "events_ingested": outcome.count,
        "accepted": outcome.accepted,
        "rejected": [one.as_json() for one in outcome.rejections],
    }


def pixel() -> Response:
    """Return the answer to an image's request."""
    return Response(200, PIXEL, {"content-type": "image/gif", "cache-control": "no-store"})


def no_batch(wanted: str) -> ProblemError:
    """Return the problem of a body of JSON that is no batch, saying what is wanted instead."""
    return ProblemError(400, "no_batch", f"The body is no batch of events: send {wanted}")


def as_bytes(raw: Any) -> bytes:
    """Return what is no event at all as bytes, which the gate rejects and keeps."""
    return msgspec.json.encode(raw)
