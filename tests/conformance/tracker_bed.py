"""What stands in for the API that the web tracker sends to, and what came there."""

from __future__ import annotations

from typing import Any

from tests.conformance import front
from tests.helpers import toolchains
from tests.helpers.proxy import Proxy, Reply, Sent

from millrace import waiting

SCRIPT = toolchains.ROOT / "include" / "millrace" / "api" / "ingestion" / "static" / "m.js"


def events(api: Proxy) -> list[dict[str, Any]]:
    """Return what was acknowledged, as the topic gets it, and once each, as the gate takes it.

    A page that is left while it sends can't know that it was heard, and a browser shows it late
    what another tab has taken off the queue: what comes twice has the same id.
    """
    came = {
        event["event_id"]: event
        for sent, status in list(api.answers)
        if status == 200 and sent.method == "POST"
        for event in front.translated(*front.route(sent))
    }
    return list(came.values())


def as_they_happened(came: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort events by their time: a browser lets what a page sends as it is left be overtaken."""
    return sorted(came, key=lambda event: str(event["timestamp"]))


def wait_for(api: Proxy, count: int) -> list[dict[str, Any]]:
    """Wait for so many events; return all that came."""
    return waiting.until(
        lambda: found if len(found := events(api)) >= count else None,
        f"{count} events", seconds=30,
        hint=lambda: f"{[(s.path, status) for s, status in api.answers]}",
    )  # fmt: skip


def api_of_script(sent: Sent) -> Reply:
    """Answer as the API does: the script, and acknowledgements."""
    if sent.method == "GET":
        return Reply(200, text=SCRIPT.read_text(), kind="text/javascript")
    count = len(sent.body.splitlines())
    rejected = [{"index": 0, "reason": "unknown_event"}] if "rejected!" in sent.text else []
    return Reply(200, {"status": "accepted", "count": count, "rejected": rejected})
