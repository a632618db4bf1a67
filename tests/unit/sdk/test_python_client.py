"""The Python client against a server that answers as the API does, and as it does on bad days."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import proxy
from tests.helpers.proxy import Proxy, Reply, Sent

SOURCE = Path(__file__).parents[3] / "sdk" / "python" / "src"
sys.path.insert(0, str(SOURCE))

from millrace_client import Client, Failure, Rejection  # noqa: E402


def events(sent: Sent) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sent.body.splitlines()]


def accept(sent: Sent) -> Reply:
    """Answer as the API does: what has no user is rejected."""
    came = events(sent)
    rejected = [
        {
            "index": index,
            "event_id": event["event_id"],
            "reason": "missing_field",
            "field": "user_id",
            "detail": "it has no user_id",
        }
        for index, event in enumerate(came)
        if not event.get("user_id")
    ]
    accepted = len(came) - len(rejected)
    return Reply(
        200,
        {"status": "accepted", "count": len(came), "accepted": accepted, "rejected": rejected},
    )


@pytest.fixture
def api() -> Iterator[Proxy]:
    with proxy.running(judge=accept) as running:
        yield running


def received(api: Proxy) -> list[Any]:
    """Return the numbers of the events that were acknowledged, in their order."""
    return [event["n"] for sent, status in api.answers if status == 200 for event in events(sent)]


def test_events_go_in_batches_in_their_order(api: Proxy) -> None:
    with Client(api.url, "mk_key", batch_events=40, batch_seconds=60) as client:
        ids = [client.track("page_view", user_id=1 + n, n=n) for n in range(100)]
    first, *_ = api.posts()
    assert (first.method, first.path) == ("POST", "/v1/events")
    assert first.headers["authorization"] == "Bearer mk_key"
    assert first.headers["content-encoding"] == "gzip"
    assert [len(events(sent)) for sent in api.posts()] == [40, 40, 20]
    assert received(api) == list(range(100))
    assert [event["event_id"] for sent in api.posts() for event in events(sent)] == ids


def test_an_event_says_what_it_was_given(api: Proxy) -> None:
    at = datetime(2026, 11, 29, 8, 15, 30, 250_000, tzinfo=UTC)
    with Client(api.url, "key") as client:
        client.track("purchase", 7, timestamp=at, page="/ä", device_info={"os": "x"})
        client.send({"event": "page_view", "user_id": "8", "event_id": "given"})
    (sent,) = api.posts()
    bought, viewed = events(sent)
    assert uuid.UUID(bought.pop("event_id")).version == 4
    assert bought == {
        "event": "purchase",
        "user_id": 7,
        "timestamp": "2026-11-29T08:15:30.250+00:00",
        "page": "/ä",
        "device_info": {"os": "x"},
    }
    assert viewed["event_id"] == "given"
    assert datetime.fromisoformat(viewed["timestamp"]).tzinfo is not None


def test_an_event_waits_for_company_no_longer_than_told(api: Proxy) -> None:
    with Client(api.url, "key", batch_seconds=0.05) as client:
        client.track("page_view", 1, n=0)
        api.wait_for(1)


def test_flush_waits_for_no_company(api: Proxy) -> None:
    with Client(api.url, "key", batch_seconds=3600) as client:
        client.track("page_view", 1, n=0)
        assert client.flush(30)
        assert received(api) == [0]


@pytest.mark.parametrize(
    "fault",
    [
        Reply(408), Reply(429), Reply(500), Reply(503), Reply(cut=True),
        Reply(200, {"a page": "of a proxy's"}),
        Reply(503, headers={"Retry-After": "0"}),
        Reply(503, headers={"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}),
    ],
    ids=lambda fault: f"{fault.status}{' cut' if fault.cut else ''}{dict(fault.headers)}",
)  # fmt: skip
def test_what_passes_is_sent_again_with_the_same_ids(api: Proxy, fault: Reply) -> None:
    api.replies = [fault]
    with Client(api.url, "key", batch_seconds=0.01) as client:
        client.track("page_view", 1, n=0)
        assert client.flush(60)
    first, second = (events(sent) for sent in api.posts())
    assert first == second


def test_a_server_that_is_away_is_tried_until_it_is_back() -> None:
    with proxy.running(judge=accept) as gone:
        url = gone.url
    failures: list[Failure] = []
    with Client(url, "key", batch_seconds=0.01, on_failed=failures.append) as client:
        client.track("page_view", 1, n=0)
        assert not client.flush(0.3)
        assert not client.close(0.5)
    assert [failure.events[0]["n"] for failure in failures] == [0]


def test_retry_after_is_kept_to(api: Proxy) -> None:
    api.replies = [Reply(429, headers={"Retry-After": "3600"})]
    failures: list[Failure] = []
    client = Client(api.url, "key", batch_seconds=0.01, on_failed=failures.append)
    client.track("page_view", 1, n=0)
    api.wait_for(1)
    assert not client.flush(0.7)  # the pause of a first fault without it is over by now
    assert len(api.posts()) == 1
    assert client.close(30)  # tries once more
    assert received(api) == [0]
    assert failures == []


@pytest.mark.parametrize("status", [301, 400, 401, 403, 422])
def test_what_another_try_would_not_change_is_given_up(api: Proxy, status: int) -> None:
    api.replies = [Reply(status, {"detail": "no key of that name"})]
    failures: list[Failure] = []
    with Client(api.url, "key", on_failed=failures.append) as client:
        client.track("page_view", 1, n=0)
    assert len(api.posts()) == 1
    (failure,) = failures
    assert (failure.status, failure.detail) == (status, "no key of that name")
    assert [event["n"] for event in failure.events] == [0]


def test_what_is_too_large_is_halved_until_it_fits(api: Proxy) -> None:
    def small_batches(sent: Sent) -> Reply:
        return Reply(413) if len(events(sent)) > 2 or "huge" in sent.text else accept(sent)

    api.judge = small_batches
    failures: list[Failure] = []
    with Client(api.url, "key", on_failed=failures.append) as client:
        for n in range(8):
            client.track("page_view", 1, n=n, **({"huge": 1} if n == 5 else {}))
    assert received(api) == [0, 1, 2, 3, 4, 6, 7]
    (failure,) = failures
    assert [event["n"] for event in failure.events] == [5]


def test_each_rejected_event_is_told_with_its_reason(api: Proxy) -> None:
    rejections: list[Rejection] = []
    with Client(api.url, "key", on_rejected=rejections.append) as client:
        for n, user in enumerate([1, "", 2, ""]):
            client.track("page_view", user, n=n)
    assert [rejection.event["n"] for rejection in rejections] == [1, 3]
    assert {(r.reason, r.field) for r in rejections} == {("missing_field", "user_id")}
    assert len(api.posts()) == 1


def test_a_fault_of_a_callback_ends_nothing(api: Proxy) -> None:
    def fail(_rejection: Rejection) -> None:
        raise RuntimeError("the application's own")

    with Client(api.url, "key", batch_events=1, on_rejected=fail) as client:
        for n in range(3):
            client.track("page_view", "", n=n)
    assert received(api) == [0, 1, 2]


def test_a_full_queue_keeps_what_it_holds(api: Proxy) -> None:
    gate = threading.Event()

    def slow(sent: Sent) -> Reply:
        gate.wait(30)
        return accept(sent)

    api.judge = slow
    failures: list[Failure] = []
    with Client(api.url, "key", queue_events=10, on_failed=failures.append) as client:
        for n in range(12):
            client.track("page_view", 1, n=n)
        gate.set()
    assert [f.events[0]["n"] for f in failures] == [10, 11]
    assert {f.detail for f in failures} == {"the queue is full"}
    assert received(api) == list(range(10))


def test_a_call_may_wait_for_room(api: Proxy) -> None:
    with Client(
        api.url, "key", queue_bytes=200, batch_seconds=0.01, block_seconds=60
    ) as client:  # an event takes more than half of it
        for n in range(5):
            client.track("page_view", 1, n=n)
    assert received(api) == list(range(5))


def test_an_event_of_a_closed_client_is_given_back(api: Proxy) -> None:
    failures: list[Failure] = []
    client = Client(api.url, "key", on_failed=failures.append)
    assert client.close()
    client.track("page_view", 1, n=0)
    assert [failure.detail for failure in failures] == ["the client is closed"]


@pytest.mark.parametrize(
    "fields",
    [{"x": float("nan")}, {"x": object()}, {"x": "\ud800"}, {"timestamp": datetime(2026, 1, 1)}],
    ids=["nan", "object", "surrogate", "no zone"],
)
def test_what_json_cannot_say_is_refused_at_once(api: Proxy, fields: dict[str, Any]) -> None:
    with Client(api.url, "key") as client, pytest.raises((TypeError, ValueError)):
        client.send({"event": "page_view", "user_id": 1} | fields)
    assert api.posts() == []


@pytest.mark.parametrize("url", ["events.example.com", "ftp://events.example.com", "https://"])
def test_an_address_must_be_one(url: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        Client(url, "key")


PROGRAM = """
import os, sys
from millrace_client import Client
client = Client(sys.argv[1], "key", batch_seconds=3600)
client.track("page_view", 1, n=0)
if sys.argv[2] == "fork":
    child = os.fork()
    client.track("page_view", 1, n=2 if child else 1)
    if child:
        os.waitpid(child, 0)
"""


@pytest.mark.parametrize(("way", "numbers"), [("end", [0]), ("fork", [0, 1, 2])])
def test_a_program_that_ends_sends_what_is_queued_once(
    api: Proxy, way: str, numbers: list[int]
) -> None:
    variables = os.environ | {"PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", PROGRAM, api.url, way]
    subprocess.run(command, env=variables, check=True, timeout=60)
    assert sorted(received(api)) == numbers
