"""Too much at once is refused before it is translated, and before it takes memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from millrace.api.http import ProblemError, Request, parse
from millrace.api.ingestion import families
from millrace.api.ingestion.batches import MOST_BYTES, MOST_EVENTS
from millrace.api.ingestion.translation import Translation

from .senders import ACCOUNT, RECEIVED_AT, request

SEVERAL: dict[str, Any] = {
    "/v1/batch": {"batch": [{"type": "track"}] * (MOST_EVENTS + 1)},
    "/api/s/s2s/batch": {"batch": [{"type": "track"}] * (MOST_EVENTS + 1)},
    "/batch/": {"batch": [{"event": "e"}] * (MOST_EVENTS + 1)},
    "/i/v1/analytics/events": {"batch": [{"event": "e"}] * (MOST_EVENTS + 1)},
    "/2/httpapi": {"events": [{"event_type": "e"}] * (MOST_EVENTS + 1)},
    "/import": [{"event": "e"}] * (MOST_EVENTS + 1),
    "/engage": [{"$set": {}}] * (MOST_EVENTS + 1),
    "/com.snowplowanalytics.snowplow/tp2": {"data": [{"e": "pv"}] * (MOST_EVENTS + 1)},
    "/api/batch": [{"payload": {"url": "/"}}] * (MOST_EVENTS + 1),
}
"""What each kind of route takes several events in."""

LINES = {"content-type": "application/x-ndjson"}
CLOUD = {"content-type": "application/cloudevents-batch+json"}


def refused(asked: Request) -> ProblemError:
    """Have a request read, and return why it is not."""
    family = families.find(asked.method, asked.path)
    assert family is not None
    with pytest.raises(ProblemError) as caught:
        family.read(asked, ACCOUNT)
    return caught.value


@pytest.mark.parametrize("path", SEVERAL)
def test_too_many_events_are_not_translated(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def event(*_: Any, **__: Any) -> None:
        raise AssertionError("translated in vain")

    monkeypatch.setattr(Translation, "event", event)
    assert refused(request("POST", path, SEVERAL[path])).code == "too_many_events"


def test_too_many_cloud_events_are_not_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Translation, "event", None)
    events = [{"specversion": "1.0", "type": "e"}] * (MOST_EVENTS + 1)
    asked = request("POST", "/v1/events", events, headers=CLOUD)
    assert refused(asked).code == "too_many_events"


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        ("/v1/events", {}, b"[" + b"{}," * (MOST_BYTES // 3 - 1) + b"{}]"),
        ("/v1/events", {}, b"[" + b"nil," * (MOST_BYTES // 4 - 1) + b"nil]"),
        ("/v1/events", LINES, b"{}\n" * (MOST_BYTES // 3)),
        ("/v1/events", {}, b"{}\n" * (MOST_BYTES // 3)),
        ("/v1/batch", {}, b'{"batch":[' + b"{}," * (MOST_BYTES // 3 - 9) + b"{}]}"),
        ("/import", {}, b"{}\n" * (MOST_BYTES // 3)),
    ],
)
def test_what_is_refused_takes_little_memory(
    path: str, headers: dict[str, str], body: bytes
) -> None:
    asked = Request("POST", path, b"", headers, body, "r", RECEIVED_AT, "")
    tracemalloc.start()
    try:
        problem = refused(asked)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (problem.status, problem.code) in {(413, "too_many_events"), (413, "body_too_large")}
    assert peak < 100 << 20


def test_a_large_body_of_as_many_values_as_events_have_is_read() -> None:
    one = b'{"event":"e","properties":{"text":"%s"}}' % (b"x" * 10_000)
    assert len(parse(b"[" + b",".join([one] * MOST_EVENTS) + b"]")) == MOST_EVENTS
