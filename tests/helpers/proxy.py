"""An HTTP server between a client and the API: it keeps what was sent, and fails on demand."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Sent:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> bytes:
        """The body, unpacked if it is gzip or zlib."""
        if self.raw[:2] == b"\x1f\x8b":
            return gzip.decompress(self.raw)
        if self.headers.get("content-encoding") == "deflate":
            return zlib.decompress(self.raw)
        return self.raw

    @property
    def text(self) -> str:
        """All that the request says."""
        return f"{self.path}\n{self.body.decode(errors='replace')}"


@dataclass
class Reply:
    """An answer of the proxy's own, of JSON unless it is ``text`` (or bytes) of a ``kind``.

    ``cut`` closes the connection instead of answering.
    """

    status: int = 200
    document: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    text: str | bytes = ""
    kind: str = "application/json"

    @property
    def body(self) -> bytes:
        """What is sent."""
        content = self.text if self.document is None else json.dumps(self.document)
        return content if isinstance(content, bytes) else content.encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_of: object) -> None:
        """Report faults of the tests' own, and not that a client hung up."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*_of)  # type: ignore[arg-type]


Judge = Callable[[Sent], Reply | None]


class Proxy:
    """Keeps every request; answers by ``judge``, and asks ``upstream`` where that says nothing.

    ``replies`` are given first, one a request that is no preflight.
    """

    def __init__(self, upstream: str = "", judge: Judge | None = None) -> None:
        self.upstream = upstream
        self.judge = judge
        self.replies: list[Reply] = []
        self.answers: list[tuple[Sent, int]] = []
        self.changed = threading.Condition()
        self.sent: list[Sent] = []
        self.server = _Server(("127.0.0.1", 0), _handler(self))

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def posts(self, path: str = "/") -> list[Sent]:
        """Return the requests but preflights whose path begins so."""
        with self.changed:
            return [s for s in self.sent if s.method != "OPTIONS" and s.path.startswith(path)]

    def take(self, sent: Sent) -> Reply | None:
        """Keep a request, and return the answer that is due if it isn't the API's."""
        with self.changed:
            self.sent.append(sent)
            self.changed.notify_all()
            if sent.method != "OPTIONS" and self.replies:
                return self.replies.pop(0)
        return self.judge(sent) if self.judge else None

    def wait_for(self, count: int, seconds: float = 30.0) -> list[Sent]:
        """Wait for so many requests; return them all."""
        with self.changed:
            came = self.changed.wait_for(lambda: len(self.posts()) >= count, seconds)
            assert came, f"{len(self.posts())} of {count} requests came in {seconds} s"
            return self.posts()

    def forward(self, sent: Sent) -> tuple[int, list[tuple[str, str]], bytes]:
        """Ask the API behind; return its answer."""
        parts = urlsplit(self.upstream)
        assert parts.hostname, f"nothing says what to answer to {sent.method} {sent.path}"
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        try:
            headers = {k: v for k, v in sent.headers.items() if k not in HOP_BY_HOP}
            connection.request(sent.method, sent.path, sent.raw, headers)
            response = connection.getresponse()
            named = [(k, v) for k, v in response.getheaders() if k.lower() not in HOP_BY_HOP]
            return response.status, named, response.read()
        finally:
            connection.close()


@contextmanager
def running(upstream: str = "", judge: Judge | None = None) -> Iterator[Proxy]:
    """Run a proxy."""
    proxy = Proxy(upstream, judge)
    thread = threading.Thread(target=proxy.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()


def basic(key: str) -> str:
    """Return the header of a key that is sent as a user's name."""
    return "Basic " + base64.b64encode(f"{key}:".encode()).decode()


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            sent = Sent(self.command, self.path, headers, raw)
            reply = proxy.take(sent)
            if reply is not None and reply.cut:
                self.close_connection = True
                return
            if reply is None:
                status, named, body = proxy.forward(sent)
            else:
                status, body = reply.status, reply.body
                named = [("Content-Type", reply.kind), *reply.headers.items()]
                named += self._cross_origin()
            proxy.answers.append((sent, status))
            self.send_response_only(status)
            for name, value in named:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _cross_origin(self) -> list[tuple[str, str]]:
            """Let a page of another origin read the proxy's own answers, as the API does."""
            origin = self.headers.get("Origin")
            if not origin:
                return []
            return [
                ("Access-Control-Allow-Origin", origin),
                ("Access-Control-Allow-Credentials", "true"),
                ("Access-Control-Allow-Headers",
                 self.headers.get("Access-Control-Request-Headers", "*")),
                ("Access-Control-Expose-Headers", "Retry-After"),
            ]  # fmt: skip

        do_GET = do_POST = do_OPTIONS = do_HEAD = handle_any  # noqa: N815  http.server's names

        def log_message(self, *arguments: object) -> None:
            """Say nothing: what came is kept."""

    return Handler
