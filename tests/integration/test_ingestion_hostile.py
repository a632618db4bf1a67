"""Who means the ingestion API no good: a clear answer, little memory, and nobody else kept out.

``SLOW_CONNECTIONS=10000`` holds as many; CI holds more than the listening sockets' queues.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import zlib
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import brotli
import httpx
import psutil
import pytest
from backports import zstd
from tests.integration.ingestion_bed import Sender, event

from millrace.settings import Settings
from millrace.stack.stack import Stack

SLOW = int(os.environ.get("SLOW_CONNECTIONS", "5000"))
MOST_MEMORY = 200 << 20
BOMB = 10 << 30
"""What a bomb would be, unpacked."""
PIECE = bytes(64 << 20)


@pytest.fixture(scope="module")
def sender(settings: Settings, ingestion_api: str) -> Iterator[Sender]:
    made = Sender(settings, ingestion_api)
    yield made
    made.client.close()


@pytest.fixture
def grown(sender: Sender, stack: Stack) -> Callable[[], int]:
    """By how many bytes the API's processes have grown since the test began."""
    main = psutil.Process(stack.supervisor.processes()["ingestion-api"]["pid"])
    processes = [main, *main.children(recursive=True)]
    send_one(sender)

    def memory() -> int:
        return sum(process.memory_info().rss for process in processes)

    before = memory()
    return lambda: memory() - before


def send_one(sender: Sender) -> None:
    """Send an event on a connection of its own; it has to be taken."""
    headers = {"authorization": f"Bearer {sender.key}"}
    url = f"{sender.client.base_url}/v1/events"
    # Before the API gives up on slow senders, after 30 s.
    answer = httpx.post(url, json=event(), headers=headers, timeout=20)
    assert answer.json()["accepted"] == 1, answer.text


def gzip_bomb() -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    first = packer.compress(PIECE) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(PIECE) + packer.flush(zlib.Z_FULL_FLUSH)  # needs nothing before it
    return first + again * (BOMB // len(PIECE) - 1)


def brotli_bomb() -> bytes:
    return brotli.compress(PIECE, quality=1)


def zstd_bomb() -> bytes:
    return zstd.compress(PIECE) * 64


def in_each_other() -> bytes:
    return zlib.compress(zlib.compress(PIECE))


JSON = "application/json"
BODIES: dict[str, tuple[dict[str, str], Callable[[], bytes], int, str]] = {
    "gzip": ({"content-encoding": "gzip"}, gzip_bomb, 413, "body_too_large"),
    "gzip that is not named": ({}, gzip_bomb, 413, "body_too_large"),
    "br": ({"content-encoding": "br"}, brotli_bomb, 413, "body_too_large"),
    "zstd": ({"content-encoding": "zstd"}, zstd_bomb, 413, "body_too_large"),
    "packed twice": (
        {"content-encoding": "deflate, deflate"}, in_each_other, 413, "body_too_large",
    ),
    "packed by nobody knows what": (
        {"content-encoding": "lzma"}, lambda: b"{}", 415, "unsupported_encoding",
    ),
    "cut off": ({"content-encoding": "gzip"}, lambda: gzip_bomb()[:900], 400, "malformed_encoding"),
    "too long": ({}, lambda: bytes(21 << 20), 413, "body_too_large"),
    "millions of events": ({}, lambda: b"[" + b"{}," * 6_000_000 + b"{}]", 413, "too_many_events"),
    "millions of lines": (
        {"content-type": "application/x-ndjson"}, lambda: b"{}\n" * 6_000_000, 413,
        "too_many_events",
    ),
    "no JSON": ({}, lambda: b'{"event": ', 400, "malformed_json"),
    "no events": ({}, lambda: b"12", 400, "no_batch"),
    "an array that never closes": ({}, lambda: b"[" * 5_000_000, 400, "malformed_json"),
    "endless texts": ({}, lambda: b'["' + b'\\"' * 5_000_000, 400, "malformed_json"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BODIES)
def test_a_hostile_body_is_refused_and_takes_no_memory(
    sender: Sender, grown: Callable[[], int], kind: str
) -> None:
    headers, body, status, code = BODIES[kind]
    answer = sender.client.post(
        "/v1/events", content=body(), headers={"content-type": JSON, **headers}, timeout=30
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert grown() < MOST_MEMORY
    send_one(sender)


def test_what_can_just_be_read_and_not_be_written_is_a_clear_no(sender: Sender) -> None:
    """What an SDK is answered with 500 it sends again for ever, and nothing behind it."""
    codes = set()
    for depth in range(900, 1_000, 4):
        deep = b'{"event":"page_view","distinct_id":"7","properties":{"a":%s}}'
        body = b'{"batch":[' + deep % (b"[" * depth + b"]" * depth) + b"]}"
        answer = sender.client.post("/batch/", content=body, timeout=30)
        codes.add((answer.status_code, answer.json()["code"]))
    assert codes == {(200, 200), (400, "malformed_json")}


NEARLY_EVENTS = {
    "deep nesting": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "not a number": b'{"event_id": NaN}',
    "invalid UTF-8": b'{"event_id": "\xff\xfe"}',
    "half a surrogate pair": b'{"event_id": "\\ud800"}',
    "an array": b"[[[[]]]]",
    "1 MiB and more": b'{"event_id": "%s"}' % (b"x" * (1 << 20)),
}


@pytest.mark.parametrize("kind", NEARLY_EVENTS)
def test_a_hostile_event_is_rejected_beside_good_ones(
    sender: Sender, grown: Callable[[], int], kind: str
) -> None:
    good = json.dumps(event()).encode()
    body = b"[" + b",".join([good, NEARLY_EVENTS[kind], good]) + b"]"
    answer = sender.send(body, timeout=30)
    assert answer.status_code == 200, answer.text
    assert [one["index"] for one in answer.json()["rejected"]] == [1]
    assert grown() < MOST_MEMORY


def told(sender: Sender, sent: bytes) -> bytes:
    """Return all that the API answers to what a connection sends before it ends."""
    place = urlsplit(str(sender.client.base_url))
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        found = b""
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                found += part
        except OSError:
            pass  # it may hang up at once
        return found


HEAD = b"POST /v1/events HTTP/1.1\r\nhost: x\r\n"
SECRET = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"content-length: 0\r\ncontent-length: %d\r\n\r\n" % len(SECRET) + SECRET,
        HEAD + b"content-length: 0, %d\r\n\r\n" % len(SECRET) + SECRET,
        HEAD + b"content-length: +0\r\n\r\n" + SECRET,
        HEAD + b"transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n" + SECRET,
        HEAD + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n" + SECRET,
        HEAD + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SECRET,
        HEAD + b"x: \x00\r\n\r\n" + SECRET,
        HEAD + b"".join(b"x-%d: y\r\n" % n for n in range(10_000)) + b"\r\n" + SECRET,
        HEAD + b"x: " + b"y" * (4 << 20) + b"\r\n\r\n" + SECRET,
        b"POST /" + b"y" * (4 << 20) + b" HTTP/1.1\r\nhost: x\r\n\r\n" + SECRET,
        b"\x16\x03\x01\x02\x00\x01" + bytes(64) + SECRET,
    ],
    ids=[
        "two lengths", "a list of lengths", "a length with a sign", "a chunk of 0x0",
        "a space before the colon", "an encoding after chunked", "a zero byte", "many headers",
        "a header of 4 MiB", "a path of 4 MiB", "TLS",
    ],
)  # fmt: skip
def test_a_request_that_hides_another_is_not_served(
    sender: Sender, grown: Callable[[], int], sent: bytes
) -> None:
    answers = told(sender, sent)
    assert b"millrace_ingestion" not in answers
    assert b"HTTP/1.1 200" not in answers
    assert grown() < MOST_MEMORY
    send_one(sender)


def test_slow_senders_keep_nobody_out(sender: Sender, grown: Callable[[], int]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < SLOW + 500:
        pytest.skip(f"this process may open {hard} files only")
    place = urlsplit(str(sender.client.base_url))
    halves = (
        HEAD[:20],
        HEAD + b"authorization: Bearer %s\r\ncontent-length: 1000\r\n\r\n{" % sender.key.encode(),
    )

    async def hold() -> None:
        writers = []
        for number in range(SLOW):
            _, writer = await asyncio.open_connection(place.hostname, place.port)
            writer.write(halves[number % 2])
            writers.append(writer)
        for _ in range(20):
            await asyncio.to_thread(send_one, sender)
        assert grown() < MOST_MEMORY
        for writer in writers:
            writer.transport.abort()

    try:
        asyncio.run(hold())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    send_one(sender)
