"""The ingestion API over HTTP, as a process of the stack: taken, judged beforehand, durable."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from tests.helpers import documentation
from tests.integration.ingestion_bed import Sender, event, known_to_all, rows

from millrace import waiting
from millrace.access import keys
from millrace.lab.simulate import api, faults, send, ways
from millrace.lab.verify import acknowledged
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import postgres


@pytest.fixture
def sender(settings: Settings, ingestion_api: str) -> Iterator[Sender]:
    made = Sender(settings, ingestion_api)
    yield made
    made.client.close()


def test_events_of_every_shape_are_kept_and_loaded(sender: Sender) -> None:
    one, two, three, packed = event(), event(), event(user_id="7"), event(properties={"ü": "ä"})
    assert sender.send(one).json() == {
        "status": "accepted",
        "count": 1,
        "accepted": 1,
        "rejected": [],
    }
    lines = b"\n".join(json.dumps(each).encode() for each in (two, three))
    told = {"content-type": "application/x-ndjson"}
    assert sender.send(lines, headers=told).json()["count"] == 2
    body = gzip.compress(json.dumps([packed]).encode())
    assert sender.send(body, headers={"content-encoding": "gzip"}).json()["accepted"] == 1
    assert sender.bed.load() == 4
    assert {row[0] for row in rows(sender, "events", "event_id")} == {
        uuid.UUID(each["event_id"]) for each in (one, two, three, packed)
    }


def test_a_request_is_read_for_what_it_is(sender: Sender) -> None:
    """Not by a unit test alone: the server in front has a say in paths, queries and HEAD."""
    url, key = str(sender.client.base_url).rstrip("/"), sender.key
    wide = json.dumps(event(page="/Zoë"), ensure_ascii=False).encode("utf-16")
    answer = sender.client.post(f"{url}//v1/events/", content=wide)
    assert answer.json()["accepted"] == 1, answer.text
    asked = f"/ice.png?e=pv&uid=7&url=/Zoë&token={key}"
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        head = f"HEAD {asked} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        connection.sendall(head.encode())
        told = b"".join(iter(partial(connection.recv, 1 << 16), b"")).lower()
    assert told.startswith(b"http/1.1 200 ")
    assert b"content-type: image/gif" in told
    assert told.endswith(b"\r\n\r\n")
    assert sender.bed.load() == 2
    assert rows(sender, "events", "event_type, page") == [("page_view", "/Zoë")] * 2


def test_a_bad_event_is_told_beforehand_and_spoils_no_other(sender: Sender) -> None:
    late = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    bad = [
        event(user_id=None),
        event(event="never_heard_of"),
        event(timestamp=late),
        event(country="de"),
        event(event_id="7"),
        [1, 2],
    ]
    answer = sender.send([event(), *bad, event()]).json()
    assert (answer["count"], answer["accepted"]) == (8, 2)
    assert [(one["index"], one["reason"], one["field"]) for one in answer["rejected"]] == [
        (1, "missing_field", "user_id"),
        (2, "unknown_event_type", "event"),
        (3, "event_in_future", "timestamp"),
        (4, "invalid_value", "country"),
        (5, "invalid_type", "event_id"),
        (6, "malformed_json", ""),
    ]
    assert all(one["detail"] for one in answer["rejected"])
    assert sender.bed.load() == 8
    assert sorted(rows(sender, "rejected_events", "reason, field")) == sorted(
        (one["reason"], one["field"]) for one in answer["rejected"]
    )


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"headers": {"authorization": "Bearer mr_nobody"}}, 401, "unknown_key"),
        ({"content": b"{nothing"}, 400, "malformed_json"),
        ({"content": b"[" + b"{}," * 2000 + b"{}]"}, 413, "too_many_events"),
        ({"content": gzip.compress(b"0" * (21 << 20)), "headers": {}}, 413, "body_too_large"),
    ],
)
def test_what_is_refused_as_a_whole_says_why(
    sender: Sender, options: dict[str, Any], status: int, code: str
) -> None:
    answer = sender.client.post("/v1/events", **{"content": b"{}", **options})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code


def track(name: str) -> dict[str, Any]:
    """What Segment's SDKs send."""
    call = {
        "type": "track",
        "event": name,
        "userId": "u1",
        "messageId": str(uuid.uuid4()),
        "timestamp": datetime.now(UTC).isoformat(),
        "properties": {"total": 3},
    }
    return {"batch": [call], "sentAt": datetime.now(UTC).isoformat()}


@pytest.mark.parametrize(
    ("policy", "owners", "is_taken"),
    [("take", ["unreviewed"], True), ("hold", ["unreviewed"], False), ("refuse", [], False)],
)
def test_what_a_source_does_with_names_that_a_stock_sdk_brings_along(
    settings: Settings, ingestion_api: str, policy: str, owners: list[str], is_taken: bool
) -> None:
    sender = Sender(settings, ingestion_api, policy)
    name = f"Order Completed {uuid.uuid4().hex[:6]}"
    answer = sender.client.post("/v1/batch", json=track(name))
    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True
    reasons = [] if is_taken else ["unknown_event_type"]
    assert [one["reason"] for one in answer.json()["rejected"]] == reasons
    assert sender.bed.load() == 1
    assert rows(sender, "events", "event_type") == ([(name,)] if is_taken else [])
    with postgres.connect(sender.settings) as connection:
        found = connection.execute(
            "SELECT owner FROM event_types WHERE event_type = %s", [name]
        ).fetchall()
    assert [row["owner"] for row in found] == owners


def test_a_source_that_names_fields_otherwise_gets_translated_events_in_its_words(
    settings: Settings, ingestion_api: str
) -> None:
    sender = Sender(settings, ingestion_api, user_id="uid", event="kind")
    answer = sender.client.post("/v1/batch", json=track("page_view"))
    own = sender.send(
        {"kind" if n == "event" else n: v for n, v in event(user_id=None, uid=7).items()}
    )
    assert (answer.json()["rejected"], own.json()["rejected"]) == ([], [])
    assert sender.bed.load() == 2
    assert rows(sender, "events", "event_type") == [("page_view",)] * 2


@pytest.mark.parametrize(
    ("page", "visited"),
    [
        ("docs/ingestion-api.md", "/from-curl"),
        ("docs/events.md", "/by-http"),
        ("README.md", "/readme"),
    ],
)
def test_the_documented_request_is_taken(
    sender: Sender, tmp_path: Path, page: str, visited: str
) -> None:
    """Typed in a checkout whose stack is this one."""
    block = documentation.blocks(page, "bash")[0]
    home = tmp_path / ".millrace"
    home.mkdir()
    (home / "secrets.env").write_text(f"MILLRACE_INGEST_KEY={sender.key}\n")
    typed = block.replace("http://127.0.0.1:18090", str(sender.client.base_url).rstrip("/"))
    done = subprocess.run(
        ["bash", "-c", typed], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {
        "status": "accepted",
        "count": 1,
        "accepted": 1,
        "rejected": [],
    }
    assert sender.bed.load() == 1
    assert rows(sender, "events", "page") == [(visited,)]


def test_who_may_watches_what_comes_and_what_becomes_of_it(sender: Sender) -> None:
    with postgres.connect(sender.settings) as connection:
        new = keys.NewKey(f"{sender.bed.name}_w", sender.bed.name, scopes=(keys.READ_LIVE,))
        watcher = keys.add(connection, new)
    allowed = {"authorization": f"Bearer {watcher}"}
    path = f"/v1/sources/{sender.bed.name}/debug"
    assert sender.client.get(path).status_code == 403
    known_to_all(str(sender.client.base_url).rstrip("/"), "GET", path, watcher)
    assert sender.client.get("/v1/sources/other/debug", headers=allowed).status_code == 403
    good, bad = event(page="/seen", note="secret"), event(user_id=None)
    with sender.client.stream("GET", "/v1/events/live", headers=allowed, timeout=30) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        told: dict[str, set[tuple[str, str, str]]] = {"api": set(), "gate": set()}
        for line in stream.iter_lines():
            if line.startswith(":") and not told["api"]:
                for _ in range(20):  # each worker gets some; one of them is watched
                    with httpx.Client(
                        base_url=sender.client.base_url, headers=sender.client.headers
                    ) as other:
                        other.post("/v1/events", json=[good, bad])
                sender.bed.load()
            if line.startswith("data: "):
                one = json.loads(line[6:])
                assert "secret" not in line
                assert "424242" not in line
                told[one["stage"]].add((one["event_id"], one["verdict"], one["reason"]))
            if told["api"] and len(told["gate"]) >= 3:
                break
    accepted, missing = (
        (good["event_id"], "accepted", ""),
        (bad["event_id"], "rejected", "missing_field"),
    )
    assert {accepted, missing} <= told["gate"]
    assert told["api"] == {accepted, missing}
    assert len(sender.client.get(path, headers=allowed).json()["loaded"]) % 40 == 0


def test_what_a_simulation_had_acknowledged_by_grpc_is_loaded_once(sender: Sender) -> None:
    own = sender.settings.model_copy(update={"events_topic": sender.bed.name})
    plan = send.Plan(seed=5, rates=faults.rates({}), rate=0, duration=60, total=4_000)
    address = own.ingestion_grpc_address
    taken = api.run(plan, own, url=address, key=sender.key, way=ways.Grpc)
    assert taken.sent > 3_000
    assert not taken.unconfirmed
    sender.bed.load()
    assert acknowledged.verify(taken, own, wait_seconds=10).differences == 0


def test_pages_say_how_it_is(sender: Sender) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/m.js", "/robots.txt"):
        assert sender.client.get(path).status_code == 200, path
    assert "default-src 'none'" in sender.client.get("/docs").headers["content-security-policy"]
    assert sender.client.get("/nowhere").status_code == 404
    assert sender.client.put("/v1/events").status_code == 405


def test_metrics_count_what_all_workers_took(sender: Sender) -> None:
    for _ in range(8):
        httpx.post(
            f"{sender.client.base_url}/v1/events",
            json=[event(), event(), event(user_id=None)],
            headers=dict(sender.client.headers),
        ).raise_for_status()
    counted = sender.client.get("/metrics").text
    for verdict, number in (("accepted", 16), ("rejected", 8)):
        labels = f'source_id="{sender.bed.name}",verdict="{verdict}"'
        assert f"millrace_ingestion_events_total{{{labels}}} {number}.0" in counted
    assert 'millrace_ingestion_request_seconds_count{family="millrace",status="200"}' in counted


def test_workers_end_with_a_main_process_that_was_killed(sender: Sender, stack: Stack) -> None:
    pid = stack.supervisor.processes()["ingestion-api"]["pid"]
    workers = psutil.Process(pid).children()
    assert len(workers) == sender.settings.ingestion_workers
    psutil.Process(pid).kill()
    _gone, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    waiting.until(
        lambda: stack.supervisor.processes()["ingestion-api"]["pid"] not in (0, pid),
        "the supervisor to start it again",
        seconds=60,
    )
    waiting.until(lambda: is_ready(sender), "the API to be ready again", seconds=30, every=0.2)


def is_ready(sender: Sender) -> bool:
    """Whether the API answers, and takes events."""
    try:
        return httpx.get(f"{sender.client.base_url}/readyz").is_success
    except httpx.TransportError:
        return False
